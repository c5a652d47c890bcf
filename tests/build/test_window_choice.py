"""`--window auto`: which requests it reads, which windows it tries, how it times, and that what it chooses is built."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from benchmarks.tracks import DATA, shipped
from benchmarks.window_choice import mixes, pair_cost, window_times
from sifigan_triton.build import window_choice
from sifigan_triton.build.options import BuildOptions
from sifigan_triton.build.window_choice import (
    LARGEST,
    Trial,
    choose,
    engine_to_time,
    format_table,
    request_seconds,
    time_trials,
    windows_to_try,
)
from sifigan_triton.cli.main import main
from sifigan_triton.features.features import Features
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.voice.folder import save_voice
from tests.small_build import ONNX, OPENVINO, logged
from tests.small_voice import one_thread, small_voice

VOICE, GENERATOR = small_voice()


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The command line of a small build."""
    save_voice(tmp_path / "voice", VOICE, GENERATOR, "# Card\n")
    common = ["--voice", tmp_path / "voice", "--output", tmp_path / "models", "--f0-floor", 400]
    return [*map(str, common), "--engine", "openvino-fp32"]


def write_request(path: Path, frames: int, lowest_f0: float = 100.0, frame_period_ms: float = 5.0) -> Path:
    """Write a feature file: the beginning of a shipped request, no F0 of it below `lowest_f0`."""
    request = shipped("frames-627")[0].first(frames).raised_to(lowest_f0)
    Features(request.f0, request.mcep, request.bap, 24000, frame_period_ms).save(path)
    return path


@pytest.mark.parametrize(
    ("longest", "expected"),
    [
        pytest.param(2440, [64, 128, 256, 512, 814], id="a third of a long one"),
        pytest.param(627, [64, 128, 256, 512, 627], id="one that fits whole"),
        pytest.param(1024, [64, 128, 256, 512, 1024], id="the largest window"),
        pytest.param(300, [64, 128, 256, 300], id="none larger than the longest"),
        pytest.param(20, [64], id="a short one"),
        pytest.param(128 * 200, [256, 512, 1024], id="small ones do not take it"),
    ],
)
def test_windows_that_are_tried(longest: int, expected: list[int]) -> None:
    assert windows_to_try(longest, 128) == expected
    assert all(window * 128 >= longest and window <= LARGEST for window in expected)


def test_a_request_that_no_window_takes_is_named_with_the_fix() -> None:
    message = (
        r"the longest request has 2440 frames, expected at most 2048 \(2 windows of 1024\): build with --max-batch 3"
    )
    with pytest.raises(ValueError, match=message):
        windows_to_try(2440, 2)
    assert windows_to_try(2440, 3)[-1] == 814


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param(1, 1.0, id="one window"),
        pytest.param(100, 1.0, id="one full window"),
        pytest.param(101, 1.5, id="between batches"),
        pytest.param(300, 2.0, id="a measured batch"),
        pytest.param(600, 4.0, id="in proportion beyond"),
    ],
)
def test_time_of_a_request(frames: int, expected: float) -> None:
    found = request_seconds(100, np.array([1.0, 2.0]), (1, 3), np.array([frames], np.int64))
    assert found.tolist() == [pytest.approx(expected)]


def test_the_smallest_of_equals_is_chosen() -> None:
    assert choose([64, 128, 256], np.array([2.0, 1.009, 1.0])) == 128
    assert choose([64, 128, 256], np.array([2.0, 1.011, 1.0])) == 256


def test_table_tells_the_padding() -> None:
    text = format_table([64, 128], np.array([50.0, 40.0]), np.array([20.0, 30.0]), np.array([100, 130], np.int64))
    rows = [line.split() for line in text.splitlines()[1:]]
    assert rows == [["64", "50.0", "28.1%", "20.0"], ["128", "40.0", "40.1%", "30.0"]]


def test_a_handful_of_windows_costs_hardly_more_than_the_best_of_all() -> None:
    times = window_times(VOICE, 70.0, None)
    assert list(times) == list(range(64, LARGEST + 1))
    for name, frames in mixes(VOICE).items():
        costs = {window: float(np.ceil(frames / window).sum()) * seconds for window, seconds in times.items()}
        best = min(costs.values())
        assert min(costs[window] for window in windows_to_try(int(frames.max()), 128)) <= 1.05 * best, name


def test_a_pair_of_windows_never_costs_more_than_either() -> None:
    frames, times = np.array([37, 627, 1000], np.int64), {512: 10.0, 128: 3.0}
    pair = pair_cost(times, 512, 128, frames)
    assert pair == pytest.approx(3.0 + (10.0 + 3.0) + 2 * 10.0)
    assert pair <= min(float(np.ceil(frames / window).sum()) * seconds for window, seconds in times.items())


class Slow:
    """An engine that takes `seconds` a window on a clock of its own, twice as long in the first call of a row."""

    def __init__(self, log: list[tuple[str, int]], name: str, seconds: float) -> None:
        self.log, self.name, self.seconds = log, name, seconds

    def run(self, windows: Any) -> Any:
        count = len(windows["bounds"])
        cold = not self.log or self.log[-1] != (self.name, count)
        self.log.append((self.name, count))
        CLOCK[0] += self.seconds * count * (2.0 if cold else 1.0)


CLOCK = [0.0]


def slow_trial(log: list[tuple[str, int]], name: str, seconds: float, repeats: int, *batches: int) -> Trial:
    calls = tuple({"bounds": np.zeros((batch, 2), np.int32)} for batch in batches)
    return Trial(Slow(log, name, seconds), calls, repeats)  # type: ignore[arg-type]


def test_engines_are_timed_in_turn_and_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_choice, "ENOUGH_S", 0.0)
    monkeypatch.setattr(window_choice.time, "perf_counter", lambda: CLOCK[0])
    log: list[tuple[str, int]] = []
    seconds = time_trials([slow_trial(log, "a", 0.25, 4, 1, 4), slow_trial(log, "b", 0.5, 2, 1, 4)])
    np.testing.assert_allclose(seconds, [[0.25, 1.0], [0.5, 2.0]])
    one_round = [("a", 1)] * 5 + [("a", 4)] * 5 + [("b", 1)] * 3 + [("b", 4)] * 3
    assert log == one_round * window_choice.FEWEST_ROUNDS


@pytest.mark.parametrize(
    ("readings", "busy"),
    [
        pytest.param([0.0, 9.0, 10.0, 11.0, 20.0, 21.0, 30.0, 31.0, 40.0, 41.0], False, id="one round disturbed"),
        pytest.param([0.0, 1.0, 10.0, 11.0, 20.0, 21.5, 30.0, 35.0, 40.0, 49.0], True, id="a busy machine"),
    ],
)
def test_a_disturbed_round_does_not_count_and_a_busy_machine_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch, readings: list[float], busy: bool
) -> None:
    monkeypatch.setattr(window_choice, "ENOUGH_S", 0.0)
    clock = iter(readings)
    monkeypatch.setattr(window_choice.time, "perf_counter", lambda: next(clock))
    with logged() as lines:
        assert time_trials([slow_trial([], "a", 0.0, 1, 1)]) == 1.0
    assert [line.startswith("something else keeps this machine busy") for line in lines] == [True] * busy


def test_the_default_engine_is_timed_or_the_last_static_one() -> None:
    bf16 = ENGINES["openvino-bf16"]

    def timed(*engines: Any, default: Any = None) -> Any:
        return engine_to_time(BuildOptions(Path(), Path(), engines, default))

    assert timed(OPENVINO, bf16) == bf16
    assert timed(OPENVINO, bf16, default=OPENVINO) == OPENVINO
    assert timed(OPENVINO, ONNX) == OPENVINO


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--lengths a.json", "--lengths without --window auto, got --window 512: the window would not depend on it"),
        (
            "--window auto --check-tensorrt",
            "--window auto measures engines, --check-tensorrt makes none: give a number",
        ),
        (
            "--window auto --lengths no.json",
            "no.json: No such file or directory: name files of requests with --lengths",
        ),
        ("--window auto --lengths no.npz", "no.npz: no such file"),
        ("--window auto --lengths {tmp}/empty.json", "empty.json holds no requests of the form"),
        (
            "--window auto --lengths {tmp}/none.json",
            "none.json: holds no requests, expected requests of at least 1 frame",
        ),
        (
            "--window auto --lengths {tmp}/zero.json",
            "zero.json: a request has 0 frames, expected requests of at least 1",
        ),
        ("--window auto --lengths {tmp}/slow.npz", "slow.npz: a frame lasts 10 ms, expected 5 ms as in the voice"),
        ("--window auto --max-batch 1 --lengths {data}/long.json", "build with --max-batch 3, or leave it out"),
    ],
)
def test_mistakes_are_refused_before_anything_is_measured(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    (tmp_path / "empty.json").touch()
    (tmp_path / "none.json").write_text('{"data": []}')
    shapes = {"f0": [0], "mcep": [0, 40], "bap": [0, 3]}
    nothing = {name: {"content": {"b64": ""}, "shape": shape} for name, shape in shapes.items()}
    (tmp_path / "zero.json").write_text(json.dumps({"data": [nothing]}))
    write_request(tmp_path / "slow.npz", 20, frame_period_ms=10.0)
    assert main(["build", *command, *arguments.format(tmp=tmp_path, data=DATA).split()]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "making" not in captured.out


def test_a_window_is_a_number_or_auto(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["build", *command, "--window", "large"])
    assert "argument --window: 'large' is neither a number of frames nor auto" in capsys.readouterr().err


def test_dynamic_engines_have_no_window(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", *command[:-1], "onnx-fp32", "--window", "auto"]) == 1
    assert "--window auto is for static engines, got onnx-fp32, which take any length" in capsys.readouterr().err


def test_the_chosen_window_is_built(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(window_choice, "ENOUGH_S", 0.0)
    lengths = [write_request(tmp_path / f"{frames}.npz", frames) for frames in (64, 40)]  # one window: more take time
    assert main(["build", *command, "--window", "auto", "--lengths", *map(str, lengths)]) == 0
    said = capsys.readouterr()
    refused = "2 of 2 requests have F0 below the floor of 400 Hz, down to 100.0 Hz, and will be refused"
    assert f"WARNING: {refused}: build with --f0-floor 100" in said.err
    assert "making openvino-fp32 of 64 frames ..." in said.out
    assert "openvino-fp32, 2 requests of 40 to 64 frames:" in said.out
    assert "chosen: --window 64, which builds the same again" in said.out
    config = (tmp_path / "models/preprocess/config.pbtxt").read_text(encoding="utf-8")
    assert text_format.Parse(config, model_config_pb2.ModelConfig()).parameters["window"].string_value == "64"

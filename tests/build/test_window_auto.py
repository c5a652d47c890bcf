"""`--window auto`: which requests it reads, how it times, what it refuses, and that what it chooses is built."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

import build_engines
from benchmarks.tracks import DATA, shipped
from sifigan_triton.build.options import BuildOptions
from sifigan_triton.build.window_choice import timing
from sifigan_triton.build.window_choice.auto import engine_to_time
from sifigan_triton.build.window_choice.distribution import Distribution, read_distribution
from sifigan_triton.build.window_choice.timing import time_engines
from sifigan_triton.build.window_choice.trial_engine import TrialEngine
from sifigan_triton.features.features import Features
from sifigan_triton.measure.workload import Workload, make_workload
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.voice.folder import save_voice
from tests.small_build import ONNX, OPENVINO
from tests.small_voice import one_thread, small_settings, small_voice

VOICE, GENERATOR = small_voice()


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def small_workload(*lengths: int) -> Workload:
    return make_workload(shipped("frames-627")[0], lengths, f0_floor=100.0)


def test_requests_and_feature_files_are_read(tmp_path: Path) -> None:
    request = shipped("frames-627")[0].first(300)
    Features(request.f0, request.mcep, request.bap, 24000, 5.0).save(tmp_path / "own.npz")
    found = read_distribution([DATA / "several.json", tmp_path / "own.npz"], VOICE)
    assert found.lengths.tolist() == [200, 37, 411, 1000, 300]
    assert found.lowest_f0s[0] == pytest.approx(93.43, abs=0.01)


def test_low_requests_are_counted_with_the_floor_that_takes_them() -> None:
    low, high = small_workload(200, 200).requests
    low.f0[10:20] = 62.3
    found = Distribution((low, high))
    refused = "1 of 2 requests have F0 below the floor of 70 Hz, down to 62.3 Hz, and will be refused"
    assert found.below(70.0) == f"{refused}: build with --f0-floor 62"
    assert found.below(62.0) is None
    assert Distribution((replace(low, f0=np.zeros_like(low.f0)),)).below(70.0) is None


def test_windows_are_the_longest_request_s_own_over_and_over() -> None:
    settings, _ = small_settings(VOICE)
    low = small_workload(10, 100)
    low.requests[1].f0[:] = 120.0  # below the engine's floor of 400 Hz
    windows = Distribution(low.requests).windows(settings, 9)
    assert windows.excitation.shape == (9, 1, settings.input_frames * VOICE.hop_size)
    for name, values in vars(windows).items():
        np.testing.assert_array_equal(values[4:8], values[:4], err_msg=name)
    assert not np.array_equal(windows.features[0], windows.features[1])
    assert low.requests[1].f0.max() == 120.0


class Clocked:
    """An engine that takes `seconds` a window on a clock of its own, twice as long in the first call of a row."""

    def __init__(self, log: list[tuple[str, int]], name: str, seconds: float) -> None:
        self.log, self.name, self.seconds = log, name, seconds

    def run(self, windows: Any) -> Any:
        count = len(windows["bounds"])
        cold = not self.log or self.log[-1] != (self.name, count)
        self.log.append((self.name, count))
        NOW[0] += self.seconds * count * (2.0 if cold else 1.0)


NOW = [0.0]


def test_engines_are_timed_in_turn_and_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ENOUGH_S", 0.0)
    log: list[tuple[str, int]] = []
    kind = ENGINES["trt-fp16"]
    engines = []
    for window, seconds in ((256, 0.25), (512, 0.5)):
        settings = replace(small_settings(VOICE, window)[0], max_batch_size=8)
        engines.append(TrialEngine(settings, kind, 1000 * window, Clocked(log, str(window), seconds)))
    times = time_engines(engines, Distribution(small_workload(600).requests), lambda line: None, lambda: NOW[0])
    assert (times.windows, times.batches) == ((256, 512), (1, 4))  # 16 are more than a call may have
    np.testing.assert_allclose(times.seconds, [[0.25, 1.0], [0.5, 2.0]])
    one_round = [("256", 1)] * 5 + [("256", 4)] * 5 + [("512", 1)] * 3 + [("512", 4)] * 3
    assert log == one_round * timing.FEWEST_ROUNDS


def test_a_disturbed_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ENOUGH_S", 0.0)
    settings, _ = small_settings(VOICE, 1024)
    lines: list[str] = []
    readings = iter([0.0, 9.0, 10.0, 11.0, 20.0, 21.0, 30.0, 31.0, 40.0, 41.0])
    engine = TrialEngine(settings, OPENVINO, 1, Clocked([], "1024", 0.0))
    times = time_engines([engine], Distribution(small_workload(64).requests), lines.append, lambda: next(readings))
    assert times.seconds == 1.0
    assert lines[-1].endswith("medians up to 0% above lower quartiles")


def test_a_busy_machine_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ENOUGH_S", 0.0)
    settings, _ = small_settings(VOICE, 1024)
    lines: list[str] = []
    readings = iter([0.0, 1.0, 10.0, 11.0, 20.0, 21.5, 30.0, 35.0, 40.0, 49.0])
    engine = TrialEngine(settings, OPENVINO, 1, Clocked([], "1024", 0.0))
    time_engines([engine], Distribution(small_workload(64).requests), lines.append, lambda: next(readings))
    assert lines[-2].endswith("medians up to 50% above lower quartiles")
    assert lines[-1] == "something else keeps this machine busy: measure again when it is quiet"


def test_the_default_engine_is_timed_or_the_last_static_one() -> None:
    bf16 = ENGINES["openvino-bf16"]

    def timed(*engines: Any, default: Any = None) -> Any:
        return engine_to_time(BuildOptions(Path(), Path(), engines, default))

    assert timed(OPENVINO, bf16) == bf16
    assert timed(OPENVINO, bf16, default=OPENVINO) == OPENVINO
    assert timed(OPENVINO, ONNX) == OPENVINO


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The command line of a small build."""
    save_voice(tmp_path / "voice", VOICE, GENERATOR, "# Card\n")
    common = ["--voice", tmp_path / "voice", "--output", tmp_path / "models", "--f0-floor", 400]
    return [*map(str, common), "--engine", "openvino-fp32"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--lengths a.json", "--lengths without --window auto, got --window 512: the window would not depend on it"),
        ("--window 64 --concurrency 2", "--concurrency without --window auto, got --window 64"),
        ("--window auto --concurrency 0", "--concurrency is 0, expected at least 1"),
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
        (
            "--window auto --max-batch 1 --lengths measurement_data/long.json",
            "build with --max-batch 3, or leave it out",
        ),
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
    request = small_workload(20).requests[0]
    Features(request.f0, request.mcep, request.bap, 24000, 10.0).save(tmp_path / "slow.npz")
    assert build_engines.main([*command, *arguments.format(tmp=tmp_path).split()]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "making" not in captured.out


def test_a_window_is_a_number_or_auto(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_engines.main([*command, "--window", "large"])
    assert "argument --window: 'large' is neither a number of frames nor auto" in capsys.readouterr().err


def test_dynamic_engines_have_no_window(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert build_engines.main([*command[:-1], "onnx-fp32", "--window", "auto"]) == 1
    assert "--window auto is for static engines, got onnx-fp32, which take any length" in capsys.readouterr().err


def test_the_chosen_window_is_built(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing, "ENOUGH_S", 0.0)
    small_workload(64, 40).write(tmp_path / "lengths.json")  # one candidate: a build of more takes its time
    options = ["--window", "auto", "--concurrency", "2", "--lengths", str(tmp_path / "lengths.json")]
    assert build_engines.main([*command, *options]) == 0
    out = capsys.readouterr().out
    assert "2 of 2 requests have F0 below the floor of 400 Hz" in out
    assert "making openvino-fp32 of 64 frames, 1 of 1 ..." in out
    assert "openvino-fp32, 2 requests of 40 to 64 frames, 2 at once, F0 from 100.0 Hz:" in out
    rows = [line for line in out.splitlines() if line.startswith("| ") and line[2] in "*6"]
    assert [row.split("|")[1:3] for row in rows] == [[" 64 ", f" {f} "] for f in (35, 50, 70, 100)] + [
        [" **64** ", " **400** "]
    ]
    assert "chosen: a window of 64 frames" in out
    config = (tmp_path / "models/preprocess/config.pbtxt").read_text(encoding="utf-8")
    assert text_format.Parse(config, model_config_pb2.ModelConfig()).parameters["window"].string_value == "64"

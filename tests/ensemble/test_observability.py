"""What an operator sees of the real server: counts that are exact, and a log line for each refusal under its id."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from sifigan_triton.repository.runtimes.sized_engine import cheapest_cover, window_sizes
from sifigan_triton.server.triton_server import TritonServer
from tests.conftest import ROOT
from tests.ensemble.stand_in import FAILING, KIND, SECRET, SETTINGS, SOUNDLESS, VOICE, stage
from tests.metrics_page import read_samples, soon, total
from tests.small_voice import random_features

pytestmark = pytest.mark.server

Tensors = dict[str, npt.NDArray[Any]]
GOOD_FRAMES = [40, 1, 32, 33, 100]


@dataclass(frozen=True)
class Served:
    server: TritonServer
    log: Path

    def infer(self, protocol: str, tensors: Tensors, model: str = "sifigan", **options: Any) -> Any:
        module: Any = {"http": tritonclient.http, "grpc": tritonclient.grpc}[protocol]
        url = self.server.http_url if protocol == "http" else self.server.grpc_url
        inputs = []
        for name, values in tensors.items():
            inputs.append(module.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype)))
            inputs[-1].set_data_from_numpy(values)
        with module.InferenceServerClient(url) as client:
            return client.infer(model, inputs, **options).as_numpy("waveform")

    def refusal(self, protocol: str, tensors: Tensors, model: str = "sifigan", **options: Any) -> str:
        with pytest.raises(InferenceServerException) as raised:
            self.infer(protocol, tensors, model, **options)
        return str(raised.value)

    def lines(self) -> list[dict[str, Any]]:
        """Return the models' lines in the log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("observed")
    repository, log = folder / "models", folder / "triton.log"
    repository.mkdir()
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    with TritonServer(stage(repository), log_path=log, **ports) as running:
        yield Served(running, log)


def features(frames: int = 40, deviations: float = 0.0, **changed: npt.NDArray[Any]) -> Tensors:
    """Make a request whose first coefficient lies so far from the voice's mean."""
    mcep, bap = random_features(VOICE, frames)
    if deviations:
        mcep[:, 0] = VOICE.mcep.mean[0] + deviations * VOICE.mcep.scale[0]
    return {"f0": np.full(frames, 500.0, np.float32), "mcep": mcep, "bap": bap, **changed}


def at_frame(frame: int, value: float, name: str = "f0") -> Tensors:
    tensors = features()
    tensors[name][frame] = value
    return tensors


INNER: Tensors = {"windows": np.zeros((1, 1, 480), np.float32), "samples": np.array([0])}
BAD: dict[str, tuple[str, str, Tensors, str]] = {
    "value": ("preprocess", "client", at_frame(3, -1.0), "sifigan"),
    "shape": (
        "preprocess",
        "client",
        {name: values for name, values in features().items() if name != "bap"},
        "sifigan",
    ),
    "length": ("preprocess", "client", features(SETTINGS.longest_frames + 1), "sifigan"),
    "not_finite": ("preprocess", "client", at_frame(3, np.nan, "mcep"), "sifigan"),
    "f0_floor": ("preprocess", "client", at_frame(3, 20.0), "sifigan"),
    "range": ("preprocess", "client", features(deviations=1e6), "sifigan"),
    "engine": (KIND.model, "server", features(deviations=FAILING + 5.0), "sifigan"),
    "not_finite_output": ("postprocess", "server", features(deviations=SOUNDLESS + 5.0), "sifigan"),
    "samples": ("postprocess", "client", INNER, "postprocess"),
}
"""By reason: the model that refuses, whose fault it is, the request, and what is asked."""
REASONS = {"samples": "shape"}


def increase(served: Served, before: Mapping[Any, float], name: str, **labels: str) -> float:
    then = sum(
        value for (found, all_), value in before.items() if found == name and labels.items() <= dict(all_).items()
    )
    return total(served.server.metrics_url, name, **labels) - then


def documented(heading: str) -> list[list[str]]:
    """Return the rows of a table of the reference, by the heading of its first column."""
    text = (ROOT / "docs" / "reference" / "server.md").read_text(encoding="utf-8")
    table = text.split(f"\n| {heading} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


def test_the_reference_lists_what_is_exported_and_no_more(served: Served) -> None:
    exported: defaultdict[str, set[tuple[str, tuple[str, ...]]]] = defaultdict(set)
    for name, labels in read_samples(served.server.metrics_url):
        names = dict(labels)
        model = "engines" if names["model"] == KIND.model else names["model"].removesuffix("-tensors")
        exported[name].add((model, tuple(sorted(names.keys() - {"model", "version"}))))
    listed = {
        re.findall(r"`(\w+)`", name)[0]: {
            (model.strip("` "), tuple(sorted(re.findall(r"`(\w+)`", labels)))) for model in counted_by.split(",")
        }
        for name, labels, counted_by, _ in documented("metric")
    }
    assert listed == exported


def test_the_reference_lists_every_reason_and_no_more(served: Served) -> None:
    samples = read_samples(served.server.metrics_url)
    exported = {
        (dict(labels)["fault"], dict(labels)["reason"]) for name, labels in samples if name == "sifigan_refusals_total"
    }
    listed = {(fault.strip("`"), reason.strip("`")) for fault, reason, _ in documented("`fault`")}
    assert listed == exported


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_good_calls_are_counted_exactly_and_write_no_line(served: Served, protocol: str) -> None:
    before, lines = read_samples(served.server.metrics_url), len(served.lines())
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda frames: served.infer(protocol, features(frames)), GOOD_FRAMES))
    assert [answer.size for answer in answers] == [frames * VOICE.hop_size for frames in GOOD_FRAMES]
    frames, windows = sum(GOOD_FRAMES), sum(-(-frames // SETTINGS.window) for frames in GOOD_FRAMES)
    covers = [
        size
        for utterance in GOOD_FRAMES
        for first in range(0, utterance, SETTINGS.window)
        for size in cheapest_cover(
            min(utterance - first, SETTINGS.window), window_sizes(SETTINGS.window), SETTINGS.halo
        )
    ]
    expected = [
        ("sifigan_requests_total", "preprocess", len(GOOD_FRAMES)),
        ("sifigan_requests_total", KIND.model, len(GOOD_FRAMES)),
        ("sifigan_frames_total", "preprocess", frames),
        ("sifigan_windows_total", "preprocess", windows),
        ("sifigan_padded_frames_total", "preprocess", windows * SETTINGS.window - frames),
        ("sifigan_padded_frames_total", KIND.model, sum(covers) - frames),
        ("sifigan_engine_windows_total", KIND.model, len(covers)),
        ("sifigan_refusals_total", "preprocess", 0),
        ("sifigan_refusals_total", KIND.model, 0),
        ("sifigan_refusals_total", "postprocess", 0),
    ]
    for name, model, amount in expected:
        assert (name, model, soon(lambda n=name, m=model: increase(served, before, n, model=m), amount)) == (
            name,
            model,
            amount,
        )
    seconds = soon(lambda: round(increase(served, before, "sifigan_audio_seconds_total"), 6), round(frames / 200, 6))
    assert seconds == pytest.approx(frames * VOICE.hop_size / VOICE.sample_rate)
    assert soon(lambda: total(served.server.metrics_url, "sifigan_requests_in_flight"), 0) == 0
    assert len(served.lines()) == lines


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("case", BAD)
def test_a_refusal_is_counted_logged_and_told_under_one_id(served: Served, protocol: str, case: str) -> None:
    model, fault, tensors, asked = BAD[case]
    before, lines = read_samples(served.server.metrics_url), len(served.lines())
    message = served.refusal(protocol, tensors, asked, request_id=f"mine-{case}")
    assert message.endswith(f" (request mine-{case})")
    assert SECRET not in message
    assert "Traceback" not in message
    (line,) = served.lines()[lines:]
    assert (line["request"], line["model"], line["reason"]) == (f"mine-{case}", model, REASONS.get(case, case))
    assert line["level"] == ("ERROR" if fault == "server" else "WARNING")
    assert line["message"] in message
    assert 0.0 <= line["seconds"] < 30.0
    assert (SECRET in line.get("traceback", "")) == (case == "engine")
    labels = {"model": model, "fault": fault, "reason": REASONS.get(case, case)}
    assert soon(lambda: increase(served, before, "sifigan_refusals_total", **labels), 1) == 1
    assert increase(served, before, "sifigan_refusals_total") == 1
    assert increase(served, before, "sifigan_audio_seconds_total") == 0
    assert soon(lambda: total(served.server.metrics_url, "sifigan_requests_in_flight"), 0) == 0


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_request_without_an_id_is_found_by_the_one_that_it_is_told(served: Served, protocol: str) -> None:
    message = served.refusal(protocol, at_frame(3, -1.0))
    found = re.search(r" \(request ([0-9a-f]{8})\)$", message)
    assert found is not None
    assert [line["request"] for line in served.lines()].count(found[1]) == 1


def test_a_stranger_s_id_does_no_harm(served: Served) -> None:
    lines = len(served.lines())
    hostile = 'x"}\n{"level": "ERROR", "message": "forged"}\r\x1b[2J' + "y" * 10_000
    message = served.refusal("http", at_frame(3, -1.0), request_id=hostile)
    (line,) = served.lines()[lines:]
    assert line["request"] in message
    assert len(line["request"]) <= 64
    assert "forged" not in line["message"]
    assert len(message) < 400


def test_a_repair_is_logged_under_the_request_s_id(served: Served) -> None:
    lines = len(served.lines())
    served.infer("http", {**at_frame(3, np.nan, "mcep"), "repair": np.array([True])}, request_id="mended")
    (line,) = served.lines()[lines:]
    assert (line["request"], line["level"], line["model"]) == ("mended", "WARNING", "preprocess")
    assert line["message"].startswith("replaced 1 of 40 frames")

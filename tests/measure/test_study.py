"""The performance study: what the bare engines get, and what the tables hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.study import FRAMES, SECTION, STUDY, Pair, format_pairs, write_bare_request
from sifigan_triton.measure.load import Sample
from sifigan_triton.measure.row import Case, Row, Slice
from sifigan_triton.measure.workload import Workload
from sifigan_triton.repository.engine_kinds import ENGINES
from tests.small_voice import small_settings, small_voice


@pytest.mark.parametrize(("engine", "frames"), [("pt-fp32", FRAMES), ("openvino-fp32", None)])
def test_bare_request_is_one_window(tmp_path: Path, engine: str, frames: int | None) -> None:
    settings = small_settings(small_voice()[0], window=FRAMES, f0_floor=70.0)[0]
    write_bare_request(tmp_path / "x.json", settings, ENGINES[engine])
    (entry,) = json.loads((tmp_path / "x.json").read_text())["data"]
    expected = frames or settings.input_frames
    assert entry["features"]["shape"] == [43, expected]
    assert entry["excitation"]["shape"] == [1, expected * 120]
    assert ("bounds" in entry) is (engine == "openvino-fp32")


def test_document_has_the_marks() -> None:
    SECTION.around()


def row(model: str, rates: tuple[float, ...]) -> Row:
    slices = [Slice((Sample(0.0, 1.0 / rate, FRAMES),), {}, 0.0, 0) for rate in rates]
    return Row(Case(model, Workload("x", Path("x.json"), (FRAMES,)), "grpc"), slices, None, 0.005, None)


def test_table_holds_medians_ratios_and_what_was_not_run(tmp_path: Path) -> None:
    quality = {"overall": {"snr": 117.0, "mcd": None}, "pitched": False, "utterances": [{"identical": False}]}
    pairs = []
    for name, rates in (("pt-fp32", (1.0, 2.0, 9.0)), ("onnx-fp16", (4.0, 4.0, 4.0))):
        kind = ENGINES[name]
        version = tmp_path / kind.model / "1"
        version.mkdir(parents=True)
        (version / "manifest.json").write_text(json.dumps({"quality": quality}))
        pairs.append(Pair(kind, row(kind.model, rates), row(kind.ensemble, rates)))
    lines = {line.split(" | ")[0].lstrip("| "): line for line in format_pairs(pairs, tmp_path).splitlines()[:10]}
    assert f"| {STUDY['pt-fp32']:.1f} | 1.00 | 2 (1-9) | 1.00 | 500 | " in lines["pt-fp32"]
    assert "| 4 (4-4) | 2.00 | 250 | 250 | 4 (4-4) | 250 | 250 | 12.54 |" in lines["onnx-fp16"]
    assert "not run: needs TensorRT and an NVIDIA GPU" in lines["trt-fp16"]

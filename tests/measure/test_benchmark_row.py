"""The figures of a benchmark: worked out by hand here, and where they are written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sifigan_triton.client.step_statistics import StepStatistics
from sifigan_triton.features.requests import Request
from sifigan_triton.measure.case import IN_PROCESS, Case, Slice
from sifigan_triton.measure.chart import draw_chart
from sifigan_triton.measure.document import Section
from sifigan_triton.measure.load import Sample
from sifigan_triton.measure.row import Row, Spread
from sifigan_triton.measure.table import COLUMNS, format_table
from sifigan_triton.measure.workload import Workload
from sifigan_triton.repository.engine_kinds import ENGINES

KIND = ENGINES["openvino-fp32"]
FEATURES = Request(np.zeros(200, np.float32), np.zeros((200, 40), np.float32), np.zeros((200, 3), np.float32))
WORKLOAD = Workload("200", (FEATURES,))


def one_slice(latency_s: float, count: int = 4) -> Slice:
    """Requests of 200 frames, 1 s of audio, one by one; the engine takes 3/4 of each, a fifth of that waiting."""
    samples = tuple(Sample(10.0 + k * latency_s, 10.0 + (k + 1) * latency_s, 200) for k in range(count))
    engine = StepStatistics(
        inferences=2 * count,
        seconds=0.5 * latency_s * count,
        requests=count,
        executions=count // 2,
        queue_s=0.15 * latency_s * count,
        copy_s=0.1 * latency_s * count,
    )
    first = StepStatistics(count, 0.05 * latency_s * count, count, count)
    return Slice(
        samples, {"postprocess": first, KIND.model: engine, "preprocess": first}, cpu_s=2.0, memory_bytes=3 << 20
    )


def rows() -> tuple[Row, Row]:
    served = [one_slice(0.2), one_slice(0.4), one_slice(0.5)]
    bare = [one_slice(0.1), one_slice(0.4), one_slice(0.4)]
    return (
        Row(Case(KIND, WORKLOAD, IN_PROCESS), bare, None, 0.005, 128),
        Row(Case(KIND, WORKLOAD, "grpc"), served, bare, 0.005, 128),
    )


def test_figures_of_a_row() -> None:
    bare, row = rows()
    assert vars(row.requests_per_second) == pytest.approx({"median": 2.5, "low": 2.0, "high": 5.0})
    assert vars(row.audio_seconds_per_second) == pytest.approx({"median": 2.5, "low": 2.0, "high": 5.0})
    assert row.against_bare == Spread(*map(pytest.approx, (0.8, 0.5, 1.0)))  # round by round: 0.5, 1.0, 0.8
    assert bare.against_bare is None
    assert row.real_time_factor == pytest.approx(0.4)
    assert row.latency_ms == pytest.approx({"p50": 400.0, "p90": 500.0, "p95": 500.0, "p99": 500.0})
    engine = row.steps[KIND.model]
    assert (engine.queue_ms, engine.compute_ms) == pytest.approx((0.15 * 1100 / 3, 0.6 * 1100 / 3))
    assert engine.batch == 2.0
    assert list(row.steps) == ["preprocess", KIND.model, "postprocess"]  # as the data passes them
    assert row.outside_engine == pytest.approx(0.25)
    assert row.computed_per_asked == pytest.approx(2 * 128 / 200)
    assert row.cpu_per_audio_second == pytest.approx(0.5)
    assert row.memory_bytes == 3 << 20


def test_dynamic_engine_wastes_nothing() -> None:
    row = Row(Case(ENGINES["onnx-fp32"], WORKLOAD, "grpc"), [one_slice(0.1)], None, 0.005, None)
    assert row.computed_per_asked is None  # its model has done nothing here
    dynamic = Row(Case(KIND, WORKLOAD, "grpc"), [one_slice(0.1)], None, 0.005, None)
    assert dynamic.computed_per_asked == 1.0


def test_table_has_a_cell_for_every_column() -> None:
    lines = format_table(rows()).splitlines()
    assert {line.count("|") for line in lines[:4]} == {COLUMNS.count("|") + 2}
    cells = [cell.strip() for cell in lines[3].split("|")]
    assert cells[1:8] == ["openvino-fp32", "200", "1", "grpc", "2.5 (2-5)", "2.5 (2-5)", "0.8 (0.5-1)"]
    assert cells[13:21] == ["0.0+18.3", "55.0+220.0", "0.0+18.3", "25.0 %", "2.00", "1.28", "0.50", "3"]


def test_json_holds_every_latency() -> None:
    content = json.loads(json.dumps([row.as_dict() for row in rows()]))
    assert [len(one["samples"]) for one in content[1]["rounds"]] == [4, 4, 4]
    assert content[1]["rounds"][2]["samples"][0] == {"frames": 200, "latency_ms": pytest.approx(500.0)}
    assert content[0]["against_bare"] is None


def test_chart_is_small(tmp_path: Path) -> None:
    draw_chart(tmp_path / "x.png", [*rows()] * 8)
    assert 1_000 < (tmp_path / "x.png").stat().st_size < 100_000


def test_text_goes_between_the_marks(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text("before\n<a>\nold\n<b>\nafter\n")
    section = Section(tmp_path / "x.md", "<a>", "<b>")
    for text in ("first", "second"):
        section.write(text)
    assert (tmp_path / "x.md").read_text() == "before\n<a>\n\nsecond\n\n<b>\nafter\n"


@pytest.mark.parametrize("text", ["nothing", "<b> <a>", "<a> <a> <b>"])
def test_document_without_marks_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.md").write_text(text)
    with pytest.raises(ValueError, match=r"x\.md lacks the marks <a> and <b>"):
        Section(tmp_path / "x.md", "<a>", "<b>").write("text")
    assert (tmp_path / "x.md").read_text() == text

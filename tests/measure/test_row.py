"""The figures of a row of the benchmark, worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sifigan_triton.client.step_statistics import StepStatistics
from sifigan_triton.measure.load import Sample
from sifigan_triton.measure.report import format_table
from sifigan_triton.measure.row import IN_PROCESS, Case, Row, Slice, Spread, StepTime, part_of
from sifigan_triton.measure.workload import Workload
from sifigan_triton.repository.engine_kinds import ENGINES

KIND = ENGINES["openvino-fp32"]
WORKLOAD = Workload("200", Path("200.json"), (200,))


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
        Row(Case(KIND.ensemble, WORKLOAD, IN_PROCESS, kind=KIND), bare, None, 0.005, 128),
        Row(Case(KIND.ensemble, WORKLOAD, "grpc", kind=KIND), served, bare, 0.005, 128),
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


def test_engine_that_counts_itself() -> None:
    """It tells frames by the sizes of its windows, and no calls."""
    own = StepStatistics(inferences=3, seconds=0.6, requests=2, queue_s=0.2, frames=2 * 128 + 64)
    one = replace(one_slice(0.5, count=2), steps={KIND.model: own})
    row = Row(Case(KIND.ensemble, WORKLOAD, "grpc"), [one], None, 0.005, 128)
    assert row.computed_per_asked == pytest.approx((2 * 128 + 64) / 400)
    assert row.steps == {KIND.model: StepTime(pytest.approx(100.0), pytest.approx(300.0), None)}
    assert row.outside_engine == pytest.approx(0.2)
    assert "batch" not in format_table([row]).splitlines()[0]


def test_dynamic_engine_wastes_nothing() -> None:
    assert Row(Case(KIND.ensemble, WORKLOAD, "grpc"), [one_slice(0.1)], None, 0.005, None).computed_per_asked == 1.0
    idle = Slice(one_slice(0.1).samples, {}, 1.0, 1)
    assert Row(Case(KIND.ensemble, WORKLOAD, "grpc"), [idle], None, 0.005, None).computed_per_asked is None


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ("preprocess-dynamic", "preprocess"),
        ("postprocess", "postprocess"),
        ("sifigan-pt-fp32", "engine"),
        ("identity", "engine"),
    ],
)
def test_part_of_the_ensemble(model: str, part: str) -> None:
    assert part_of(model) == part


def test_json_holds_every_latency() -> None:
    content = json.loads(json.dumps([row.as_dict() for row in rows()]))
    assert [len(one["samples"]) for one in content[1]["rounds"]] == [4, 4, 4]
    assert content[1]["rounds"][2]["samples"][0] == {"frames": 200, "latency_ms": pytest.approx(500.0)}
    assert content[0]["against_bare"] is None

"""The benchmark as a whole: a tiny voice on the real server, with perf_analyzer, shared memory and Poisson arrivals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.tracks import DATA
from sifigan_triton.build.model_repository import BuildOptions, build
from sifigan_triton.cli.main import main
from sifigan_triton.features.requests import read_requests
from sifigan_triton.measure.benchmark import BenchmarkOptions, plan_cases, run_benchmark, write_results
from sifigan_triton.measure.perf_analyzer import PerfError, send
from sifigan_triton.measure.run import Schedule
from sifigan_triton.measure.usage import ProcessGroup
from sifigan_triton.measure.workload import make_workload
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.voice.folder import RANDOM_CARD, save_voice
from tests.small_build import OPENVINO
from tests.small_voice import small_voice


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    save_voice(folder / "voice", *small_voice(), RANDOM_CARD)
    build(BuildOptions(folder / "voice", folder / "models", (OPENVINO,), window=32, f0_floor=400.0))
    return folder / "models"


@pytest.mark.server
def test_every_kind_of_row_is_measured(repository: Path, tmp_path: Path) -> None:
    options = BenchmarkOptions(
        repository, (OPENVINO,), (20, 70), (1,), ("http", "grpc", "grpc-shm"), (0.5,), Schedule(rounds=1, requests=3)
    )
    rows = run_benchmark(options, lambda line: None)
    loads = [(row.case.workload.name, row.case.protocol, row.case.load) for row in rows]
    protocols = ("in-process", "http", "grpc", "grpc-shm")
    assert loads == [(length, protocol, "1") for length in ("20", "70") for protocol in protocols] + [
        ("mixed", "grpc-shm", "Poisson 0.5")
    ]
    for row in rows:
        latency = row.latency_ms
        assert 0.0 < latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"]
        assert 0.0 < row.requests_per_second.low <= row.requests_per_second.median <= row.requests_per_second.high
        if row.case.protocol == "in-process":
            assert not row.steps
            continue
        assert list(row.steps) == ["preprocess", OPENVINO.model, "postprocess"]
        assert row.memory_bytes > 50 << 20
        assert 0.0 < (row.outside_engine or 0.0) < 1.0
        assert (row.against_bare is None) == (row.case.utilization is not None)
        windows = {"20": 32 / 20, "70": 96 / 70}.get(row.case.workload.name)
        assert windows is None or row.computed_per_asked == pytest.approx(windows)
    text = write_results(tmp_path / "out", rows, options)
    assert text in (tmp_path / "out" / "benchmark.md").read_text(encoding="utf-8")
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text(encoding="utf-8"))
    assert len(content["rows"]) == len(rows)
    assert len(content["rows"][-1]["rounds"][0]["samples"]) == 4 * 3
    assert (tmp_path / "out" / "benchmark.png").stat().st_size < 100_000


def test_engine_that_is_not_built_is_named(tmp_path: Path) -> None:
    (tmp_path / "sifigan-ensemble-pt-fp32" / "1").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"no ensemble of trt-fp16, found pt-fp32: build with build_engines\.py"):
        plan_cases(BenchmarkOptions(tmp_path, (ENGINES["trt-fp16"],)))


def test_document_without_marks_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.md").write_text("# Nothing\n")
    assert main(["benchmark", "--model-repository", str(tmp_path), "--document", str(tmp_path / "x.md")]) == 1
    assert "x.md lacks the marks <!-- benchmark: written by" in capsys.readouterr().err


def test_failure_of_perf_analyzer_is_told(tmp_path: Path) -> None:
    make_workload(read_requests(DATA / "short.json")[0], (5,), 100.0).write(tmp_path / "x.json")
    with pytest.raises(PerfError, match=r"perf_analyzer on sifigan at 127\.0\.0\.1:1 \(http, x\.json\) failed"):
        send("sifigan", "127.0.0.1:1", "http", tmp_path / "x.json", 1, 1)


def test_usage_of_a_process_group() -> None:
    code = (
        "import time; x = bytearray(60 << 20); end = time.process_time() + 0.1\nwhile time.process_time() < end: pass\n"
    )
    code += "print('done', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        group = ProcessGroup(process.pid)
        assert process.stdout is not None
        process.stdout.readline()
        assert group.cpu_s() > 0.05
        assert 60 << 20 < group.memory_bytes() < 120 << 20
        process.communicate(b"\n")
    assert (group.cpu_s(), group.memory_bytes()) == (0.0, 0)
    assert ProcessGroup(os.getpgrp()).cpu_s() > 0.0

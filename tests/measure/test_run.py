"""The benchmark as a whole on the real server: perf_analyzer, shared memory and Poisson arrivals, interleaved."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tracks import DATA
from sifigan_triton.build.model_repository import BuildOptions, build
from sifigan_triton.cli.main import main
from sifigan_triton.features.requests import read_requests
from sifigan_triton.measure.plan import BenchmarkOptions, Schedule
from sifigan_triton.measure.report import write_results
from sifigan_triton.measure.row import Case, Row
from sifigan_triton.measure.run import Bench, run_benchmark
from sifigan_triton.measure.workload import Workload
from sifigan_triton.server.triton_server import TritonServer
from sifigan_triton.voice.folder import RANDOM_CARD, save_voice
from tests.small_build import OPENVINO
from tests.small_voice import small_voice
from tests.toy_models import IDENTITY, write_ensemble, write_python_model

pytestmark = pytest.mark.server

SLEEP_S = 0.02
SLOW = "import time\n" + IDENTITY.replace(
    "        inputs =", f"        time.sleep({SLEEP_S} * len(requests))\n        inputs ="
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    save_voice(folder / "voice", *small_voice(), RANDOM_CARD)
    build(BuildOptions(folder / "voice", folder / "models", (OPENVINO,), window=32, f0_floor=400.0))
    return folder / "models"


def server_of(repository: Path) -> Callable[[Sequence[str]], TritonServer]:
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    return lambda models: TritonServer(repository, models=models, client_shared_memory=True, **ports)


def test_every_kind_of_row_is_measured(repository: Path, tmp_path: Path) -> None:
    options = BenchmarkOptions(
        repository,
        (OPENVINO,),
        lengths=(20, 70),
        concurrency=(1,),
        utilization=(0.5,),
        schedule=Schedule(rounds=1, requests=3),
    )
    rows = run_benchmark(options, server_of(repository))
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
        engine = row.parts["engine"]
        assert engine.batch is None  # it counts itself: Triton would tell how long it took to accept the requests
        assert engine.compute_ms > 0.1 * row.latency_ms["p50"]
        assert (row.against_bare is None) == (row.case.utilization is not None)
        windows = {"20": 32 / 20, "70": 80 / 70}.get(row.case.workload.name)  # of 32 and 16 frames
        assert windows is None or row.computed_per_asked == pytest.approx(windows)
    text = write_results(tmp_path / "out", rows, options)
    assert text in (tmp_path / "out" / "benchmark.md").read_text(encoding="utf-8")
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text(encoding="utf-8"))
    assert len(content["rows"]) == len(rows)
    assert len(content["rows"][-1]["rounds"][0]["samples"]) == 4 * 3
    assert (tmp_path / "out" / "benchmark.png").stat().st_size < 100_000


def test_files_are_measured_as_they_are(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `make perf` does: perf_analyzer on `sifigan` with files of requests, and no bare engine beside."""
    command = ["benchmark", str(tmp_path / "pair.json"), "--model-repository", str(repository), "--model", "sifigan"]
    command += ["--concurrency", "1", "2", "--protocol", "http", "grpc", "--rounds", "2", "--requests", "3"]
    Workload.cut(tmp_path, read_requests(DATA / "short.json")[0], (20, 70), 400.0).path.rename(tmp_path / "pair.json")
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    table = capsys.readouterr().out
    assert "| sifigan | pair   | 2    | grpc |" in table
    assert "against bare" not in table
    rows = json.loads((tmp_path / "out" / "benchmark.json").read_text(encoding="utf-8"))["rows"]
    loads = [(row["frames"], row["protocol"], row["load"]) for row in rows]
    assert loads == [("pair", protocol, load) for load in ("1", "2") for protocol in ("http", "grpc")]
    for row in rows:
        assert list(row["steps"]) == ["preprocess", OPENVINO.model, "postprocess"]
        rate, audio = (row[name]["median"] for name in ("requests_per_second", "audio_seconds_per_second"))
        assert audio == pytest.approx(rate * 45 * 0.005)
        assert [len(one["samples"]) for one in row["rounds"]] == [4, 4]  # both requests of the file as often
        assert row["computed_per_asked"] == pytest.approx((32 + 80) / 90)


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """An ensemble around one model that takes a known time, one request after the other."""
    models = tmp_path_factory.mktemp("models")
    write_python_model(models, "identity", SLOW)
    write_ensemble(models, "sifigan")
    with TritonServer(models, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


def test_rate_latency_and_steps_are_those_of_the_server(slow_server: TritonServer, tmp_path: Path) -> None:
    content = {frames: base64.b64encode(np.full(frames, 220.0, "<f4").tobytes()).decode() for frames in (100, 300)}
    entries = [{"f0": {"content": {"b64": text}, "shape": [frames]}} for frames, text in content.items()]
    (tmp_path / "several.json").write_text(json.dumps({"data": entries}), encoding="utf-8")
    workload = Workload.read(tmp_path / "several.json")
    cases = [Case("sifigan", workload, protocol, clients) for protocol in ("http", "grpc") for clients in (1, 2)]
    with closing(Bench(slow_server, {}, Schedule(rounds=2, requests=10))) as bench:
        seen = bench.measure(cases)
    rows = [Row(case, slices, None, 0.005, None) for case, slices in seen.items()]
    for row in rows:
        rate = row.requests_per_second.median
        assert row.audio_seconds_per_second.median == pytest.approx(rate)  # a second each, on average
        assert 0.3 / SLEEP_S < rate <= 1.05 / SLEEP_S  # one instance: concurrency does not add to it
        assert min(row.latency_ms.values()) >= SLEEP_S * 1e3
        assert row.latency_ms["p50"] >= row.case.clients * SLEEP_S * 0.9e3
        assert list(row.steps) == ["identity"]
        assert row.parts["engine"].compute_ms >= SLEEP_S * 1e3
    assert rows[1].steps["identity"].queue_ms > 0.5 * SLEEP_S * 1e3 > rows[0].steps["identity"].queue_ms

"""Measurements with the real perf_analyzer."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sifigan_triton.measure import perf_analyzer
from sifigan_triton.measure.perf import PerfError, PerfRow, PerfSettings, format_table, measure, seconds_per_request
from sifigan_triton.measure.perf_analyzer import PerfResult, StepTime
from sifigan_triton.server.triton_server import TritonServer
from tests.toy_models import IDENTITY, write_ensemble, write_python_model

SLEEP_S = 0.02
SLOW = "import time\n" + IDENTITY.replace(
    "        inputs =", f"        time.sleep({SLEEP_S} * len(requests))\n        inputs ="
)
QUICK = PerfSettings(requests=5, windows=4, stability_percent=50.0, timeout_s=60.0)


def write_inputs(path: Path, frames: tuple[int, ...]) -> Path:
    def entry(count: int) -> dict[str, object]:
        content = base64.b64encode(np.full(count, 220.0, "<f4").tobytes()).decode()
        return {"f0": {"content": {"b64": content}, "shape": [count]}}

    path.write_text(json.dumps({"data": [entry(count) for count in frames]}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("models")
    write_python_model(repository, "identity", SLOW)
    write_ensemble(repository, "sifigan")
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


@pytest.mark.server
def test_measure_reports_rate_latency_and_steps(server: TritonServer, tmp_path: Path) -> None:
    inputs = [write_inputs(tmp_path / "several.json", (100, 300))]
    rows = measure(server.http_url, server.grpc_url, inputs, concurrencies=(1, 2), settings=QUICK)
    assert [(row.protocol, row.concurrency) for row in rows] == [("http", 1), ("http", 2), ("grpc", 1), ("grpc", 2)]
    for row in rows:
        result = row.result
        assert row.audio_s == pytest.approx(1.0)
        assert row.audio_seconds_per_second == pytest.approx(result.throughput)
        assert 0.3 / SLEEP_S < result.throughput <= 1.05 / SLEEP_S  # one instance: concurrency does not add to it
        assert SLEEP_S * 1e3 <= result.p50_ms <= result.p90_ms <= result.p95_ms <= result.p99_ms
        assert result.avg_ms >= row.concurrency * SLEEP_S * 0.9e3
        (step,) = result.steps
        assert step.model == "identity"
        assert step.compute_ms >= SLEEP_S * 1e3
    assert rows[1].result.steps[0].queue_ms > 0.5 * SLEEP_S * 1e3 > rows[0].result.steps[0].queue_ms


@pytest.mark.server
def test_unstable_measurement_is_made_and_marked(server: TritonServer, tmp_path: Path) -> None:
    settings = PerfSettings(requests=3, windows=3, stability_percent=1e-6, timeout_s=60.0)
    inputs = [write_inputs(tmp_path / "one.json", (50,))]
    rows = measure(server.http_url, server.grpc_url, inputs, concurrencies=(1,), protocols=("http",), settings=settings)
    assert [row.result.stable for row in rows] == [False]
    assert "~" in format_table(rows).splitlines()[2]


@pytest.mark.server
@pytest.mark.parametrize(
    ("model", "entry", "message"),
    [
        pytest.param("nonesuch", "f0", "on nonesuch .*unknown model: 'nonesuch'", id="unknown-model"),
        pytest.param("sifigan", "f1", r"one\.json.* missing tensor f0", id="wrong-tensor"),
    ],
)
def test_failure_says_what_perf_analyzer_says(
    server: TritonServer, tmp_path: Path, model: str, entry: str, message: str
) -> None:
    path = write_inputs(tmp_path / "one.json", (50,))
    path.write_text(path.read_text().replace("f0", entry))
    with pytest.raises(PerfError, match=message):
        perf_analyzer.run(model, server.http_url, "http", path, 1, QUICK)


def test_no_server_is_told(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(PerfError, match=rf"at {url} \(http, one\.json\).*exit status 99.*Couldn't connect"):
            perf_analyzer.run("sifigan", url, "http", write_inputs(tmp_path / "one.json", (50,)), 1, QUICK)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "is no measurement file", id="no-json"),
        pytest.param("[]", "is no measurement file", id="no-object"),
        pytest.param('{"data": []}', "no entries under 'data'", id="empty"),
        pytest.param('{"data": [{"f0": [1.0]}, {"mcep": []}]}', "entry 1: no f0", id="no-f0"),
        pytest.param('{"data": [{"f0": {"shape": [1, 5]}}]}', r"entry 0: f0 has the shape \[1, 5\]", id="rank"),
    ],
)
def test_unusable_measurement_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(PerfError, match=rf"x\.json.*{message}"):
        seconds_per_request(path)


def test_missing_measurement_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PerfError, match=r"nowhere\.json is missing"):
        measure("127.0.0.1:1", "127.0.0.1:1", [tmp_path / "nowhere.json"])


def test_table_lines_up() -> None:
    step = StepTime("engine", 1.0, 20.5)
    result = PerfResult(2.0, 500.0, 490.0, 505.0, 510.0, 520.0, stable=True, steps=(step,))
    rows = [PerfRow("frames-627", "http", 1, 3.135, result), PerfRow("short", "grpc", 16, 0.5, result)]
    head, rule, *lines = format_table(rows).splitlines()
    assert len({len(line) for line in (head, rule, *lines)}) == 1
    assert lines[0].split() == [
        "frames-627",
        "3.13",
        "http",
        "1",
        "2.00",
        "6.27",
        *["500.0", "490.0", "505.0", "510.0", "520.0", "1.0+20.5"],
    ]
    assert lines[1].startswith("short ")  # names stand on the left
    assert head.endswith("engine (queue+compute ms)")

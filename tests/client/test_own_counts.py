"""What models count themselves: read from a page of metrics, by hand and from the real server."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.tracks import track_request
from sifigan_triton.client import ServerUnavailableError, SifiganClient, StepStatistics
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.own_counts import read_page, with_own_counts
from tests.conftest import Deployment

ENGINE = "sifigan-openvino-fp32"
PAGE = """\
# HELP sifigan_requests_total Requests that the model has answered
# TYPE sifigan_requests_total counter
sifigan_requests_total{model="engine",version="1"} 3
sifigan_requests_total{model="engine",version="2"} 1
sifigan_requests_total{model="preprocess",version="1"} 4
sifigan_compute_seconds_total{model="engine",version="1"} 1.5e+01
sifigan_compute_seconds_total{model="preprocess",version="1"} 0.25
sifigan_wait_seconds_total{model="engine",version="1"} 2
sifigan_engine_windows_total{frames="128",model="engine",version="1"} 5
sifigan_engine_windows_total{frames="512",model="engine",version="1"} 2
sifigan_refusals_total{fault="load",model="postprocess",reason="deadline",version="1"} 7
nv_inference_request_success{model="native",version="1"} 9
"""
TRITONS = StepStatistics(inferences=8, seconds=0.001, requests=4, executions=4, queue_s=0.002, copy_s=0.003)


def test_own_counts_go_before_those_of_triton() -> None:
    steps = with_own_counts(dict.fromkeys(("engine", "preprocess", "postprocess", "native"), TRITONS), PAGE)
    assert steps == {
        "engine": StepStatistics(7, 15.0, requests=4, queue_s=2.0, frames=5 * 128 + 2 * 512),
        "preprocess": StepStatistics(8, 0.25, requests=4),
        "postprocess": TRITONS,
        "native": TRITONS,
    }


def settled(client: SifiganClient, metrics_url: str) -> dict[str, StepStatistics]:
    """Return the counts when they do not change any more: models write them a moment after they have answered."""
    before = client.steps(metrics_url)
    while True:
        time.sleep(0.1)
        now = client.steps(metrics_url)
        if now == before:
            return now
        before = now


@pytest.mark.server
def test_times_are_those_of_the_work(small_deployment: Deployment) -> None:
    """An engine in a Python model answers from a thread: Triton alone would tell no more than the accepting."""
    metrics_url, request = small_deployment.server.metrics_url, track_request("300 Hz", 1000, 100.0)
    with SifiganClient(small_deployment.server.http_url) as client:
        client.synthesize(request.f0, request.mcep, request.bap)  # the first call warms up
        before, started = settled(client, metrics_url), time.perf_counter()
        client.synthesize(request.f0, request.mcep, request.bap)
        elapsed = time.perf_counter() - started
        done = {name: step - before[name] for name, step in settled(client, metrics_url).items()}
    engine = done[ENGINE]
    assert (engine.requests, done["preprocess"].requests) == (1, 1)
    assert 1000 <= engine.frames < 1000 + 128
    assert engine.inferences >= 8  # windows of at most 128 frames
    assert 0.5 * elapsed < engine.seconds + engine.queue_s < elapsed
    assert 0.0 < done["preprocess"].seconds < engine.seconds


@pytest.mark.server
def test_waiting_counts_as_such(small_deployment: Deployment) -> None:
    """Requests that are sent at once wait for one another; their computing takes no longer for that."""
    metrics_url, request = small_deployment.server.metrics_url, track_request("300 Hz", 1000, 100.0)
    with SifiganClient(small_deployment.server.http_url) as client, ThreadPoolExecutor(8) as pool:
        before = settled(client, metrics_url)[ENGINE]
        started = time.perf_counter()
        list(pool.map(lambda _: client.synthesize(request.f0, request.mcep, request.bap), range(8)))
        elapsed = time.perf_counter() - started
        done = settled(client, metrics_url)[ENGINE] - before
    assert done.requests == 8
    assert done.seconds <= elapsed
    assert done.queue_s > done.seconds  # each waits for three or four others
    assert done.queue_s + done.seconds <= 8 * elapsed


@pytest.mark.server
def test_port_without_metrics_is_named(small_deployment: Deployment) -> None:
    with pytest.raises(ServerUnavailableError, match=r"no page of metrics .*expected Triton's port of metrics"):
        read_page(small_deployment.server.http_url, Deadline(5.0))
    with pytest.raises(ServerUnavailableError, match="no Triton server answers"):
        read_page("127.0.0.1:1", Deadline(5.0))

"""Work that nobody waits for any more ends, and what others asked for is not touched by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.tracks import Request, recordings, track_request
from sifigan_triton.client import SifiganClient, SynthesisTimeoutError
from tests.conftest import Deployment
from tests.metrics_page import soon, total

pytestmark = pytest.mark.server

FRAMES = 16_000
"""125 windows of the small deployment: seconds of work."""
PATIENCE_S = 60.0


def long_request() -> Request:
    sung = recordings()
    mcep, bap = (np.resize(values, (FRAMES, values.shape[1])) for values in (sung.mcep, sung.bap))
    return Request(np.full(FRAMES, 150.0, np.float32), mcep, bap)


def windows(deployment: Deployment) -> int:
    """Return how many windows the engine has computed."""
    with SifiganClient(deployment.urls["http"]) as client:
        steps = client.steps(deployment.server.metrics_url)
    return steps["sifigan-openvino-fp32"].inferences


def ask_plainly(deployment: Deployment, protocol: str, request: Request, timeout_us: int) -> Any:
    """Ask as any other client would, which waits much longer than it tells the server."""
    module: Any = {"http": tritonclient.http, "grpc": tritonclient.grpc}[protocol]
    server = deployment.server
    url, patience = {
        "http": (server.http_url, {"network_timeout": PATIENCE_S}),
        "grpc": (server.grpc_url, {}),
    }[protocol]
    with module.InferenceServerClient(url, **patience) as client:
        inputs = []
        for name, values in vars(request).items():
            inputs.append(module.InferInput(name, list(values.shape), "FP32"))
            inputs[-1].set_data_from_numpy(values)
        return client.infer("sifigan", inputs, timeout=timeout_us)


def settled(count: Callable[[], int]) -> int:
    """Return a count that does not grow any more."""
    give_up = time.monotonic() + PATIENCE_S
    before = count()
    while time.monotonic() < give_up:
        time.sleep(1.0)
        now = count()
        if now == before:
            return now
        before = now
    raise AssertionError("the engine goes on")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_engine_gives_up_between_windows(small_deployment: Deployment, protocol: str) -> None:
    before, timeout_us = windows(small_deployment), 500_000
    while True:
        with pytest.raises(InferenceServerException) as refusal:
            ask_plainly(small_deployment, protocol, long_request(), timeout_us)
        if "nothing was computed" not in str(refusal.value):
            break
        timeout_us *= 2  # a machine that others use, too
    assert "the deadline of the request has passed" in str(refusal.value)
    assert "of 125 windows were computed" in str(refusal.value)
    if protocol == "grpc":
        assert refusal.value.status() == "StatusCode.CANCELLED"
    assert 0 < settled(lambda: windows(small_deployment)) - before < 125


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_client_that_gives_up_leaves_no_work_behind(small_deployment: Deployment, protocol: str) -> None:
    before = windows(small_deployment)
    request = long_request()
    with SifiganClient(small_deployment.urls[protocol], timeout_s=0.7) as client, pytest.raises(SynthesisTimeoutError):
        client.synthesize(request.f0, request.mcep, request.bap)
    assert settled(lambda: windows(small_deployment)) - before < 125


def test_a_deadline_that_is_over_costs_no_window(small_deployment: Deployment) -> None:
    before = windows(small_deployment)
    with pytest.raises(InferenceServerException, match="the deadline of the request has passed, nothing was computed"):
        ask_plainly(small_deployment, "grpc", track_request("glide", 100, 100.0), 1)
    assert windows(small_deployment) == before


def test_others_get_their_audio(small_deployment: Deployment) -> None:
    request = track_request("recordings", 300, small_deployment.settings.f0_floor)

    def synthesize() -> Any:
        with SifiganClient(small_deployment.urls["grpc"]) as client:
            return client.synthesize(request.f0, request.mcep, request.bap)

    alone = synthesize()
    with ThreadPoolExecutor(8) as pool:
        given_up = [pool.submit(ask_plainly, small_deployment, "http", long_request(), 400_000) for _ in range(4)]
        answers = [pool.submit(synthesize) for _ in range(4)]
        assert all(np.array_equal(answer.result(), alone) for answer in answers)
        assert all(isinstance(failed.exception(), InferenceServerException) for failed in given_up)


def test_given_up_requests_are_counted(small_deployment: Deployment) -> None:
    def counted() -> float:
        return total(small_deployment.server.metrics_url, "sifigan_refusals_total", fault="load", reason="deadline")

    before = counted()
    with pytest.raises(InferenceServerException):
        ask_plainly(small_deployment, "http", track_request("glide", 100, 100.0), 1)
    assert soon(counted, before + 1) == before + 1

"""The Python client, against the real server."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.tracks import shipped
from postprocess import to_pcm16
from sifigan_triton.client import ServerUnavailableError, SifiganClient, SynthesisError, SynthesisTimeoutError
from tests.conftest import Deployment

REQUEST = shipped("short")[0].first(60)  # all voiced
ARGUMENTS = (REQUEST.f0, REQUEST.mcep, REQUEST.bap)


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, small_deployment: Deployment) -> Iterator[SifiganClient]:
    with SifiganClient(small_deployment.urls[request.param]) as connected:
        yield connected


@pytest.fixture(params=["", "grpc://"], ids=["http", "grpc"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.server
def test_lists_and_doubles_are_taken(client: SifiganClient) -> None:
    waveform = client.synthesize(REQUEST.f0.tolist(), REQUEST.mcep.astype(np.float64), REQUEST.bap)
    assert np.array_equal(waveform, client.synthesize(*ARGUMENTS))


@pytest.mark.server
def test_pcm16_is_the_rounded_waveform(client: SifiganClient) -> None:
    pcm16 = client.synthesize_pcm16(*ARGUMENTS, f0_factor=1.5, seed=4)
    assert pcm16.dtype == np.int16
    assert np.array_equal(pcm16, to_pcm16(client.synthesize(*ARGUMENTS, f0_factor=1.5, seed=4)))


@pytest.mark.server
def test_f0_factor_is_a_factor_on_f0(client: SifiganClient) -> None:
    moved = client.synthesize(*ARGUMENTS, f0_factor=2.0)
    assert np.array_equal(moved, client.synthesize(REQUEST.f0 * 2.0, REQUEST.mcep, REQUEST.bap))
    assert not np.array_equal(moved, client.synthesize(*ARGUMENTS))


@pytest.mark.server
def test_steps_count_windows(client: SifiganClient) -> None:
    before = client.steps()
    client.synthesize(*(np.concatenate([values] * 3) for values in ARGUMENTS))  # 180 frames: two windows of 128
    after, give_up = client.steps(), time.monotonic() + 20.0
    while after["sifigan"].requests == before["sifigan"].requests and time.monotonic() < give_up:
        time.sleep(0.05)  # Triton counts a request when its answer has left
        after = client.steps()
    assert (after["sifigan-openvino-fp32"] - before["sifigan-openvino-fp32"]).inferences == 2
    assert (after["sifigan-openvino-fp32"] - before["sifigan-openvino-fp32"]).seconds > 0.0


@pytest.mark.server
def test_refusal_carries_the_reason(client: SifiganClient) -> None:
    with pytest.raises(SynthesisError, match=r"f0 has 59 frames|mcep has 60 frames, expected 59 as in f0"):
        client.synthesize(REQUEST.f0[:-1], REQUEST.mcep, REQUEST.bap)


@pytest.mark.server
def test_unknown_model(small_deployment: Deployment, scheme: str) -> None:
    url = small_deployment.urls["grpc" if scheme else "http"]
    with SifiganClient(url, model="nonsense") as client, pytest.raises(ServerUnavailableError, match="nonsense"):
        client.synthesize(*ARGUMENTS)


@pytest.mark.server
def test_timeout(small_deployment: Deployment, scheme: str) -> None:
    url = small_deployment.urls["grpc" if scheme else "http"]
    long = [np.concatenate([values] * 100) for values in ARGUMENTS]
    with SifiganClient(url, timeout_s=0.2) as client, pytest.raises(SynthesisTimeoutError, match=r"within 0\.2 s"):
        client.synthesize(*long)


def test_no_server(scheme: str) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound but not listening: a connection is refused
        url = f"{scheme}127.0.0.1:{reserved.getsockname()[1]}"
        with SifiganClient(url, retries=0) as client, pytest.raises(ServerUnavailableError, match=url):
            client.synthesize(*ARGUMENTS)


def test_model_that_is_no_text(scheme: str) -> None:
    with pytest.raises(ValueError, match=r"^model is '\\udc80', expected the name of a model in Unicode"):
        SifiganClient(f"{scheme}127.0.0.1:8000", model="\udc80")

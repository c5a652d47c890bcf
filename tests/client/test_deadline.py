"""A request's time-out: how it is counted, that it governs every wait, and that the server learns of it."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from sifigan_triton.client import SifiganClient, SynthesisTimeoutError
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.server.triton_server import TritonServer
from tests.client.toy_ensemble import GIVE_UP, PASSED, TELL_TIMEOUT, features
from tests.stopwatch import stopwatch

WAYS = {"http": ("http", None), "grpc": ("grpc", None), "http-shm": ("http", "system"), "grpc-shm": ("grpc", "system")}
BAD = (0.0, -1.0, math.nan, math.inf, 1e10)


@pytest.fixture(params=list(WAYS))
def client(request: pytest.FixtureRequest, server: TritonServer) -> Iterator[SifiganClient]:
    protocol, memory = WAYS[request.param]
    url = server.http_url if protocol == "http" else f"grpc://{server.grpc_url}"
    with SifiganClient(url, timeout_s=8.0, shared_memory=memory) as connected:  # type: ignore[arg-type]
        yield connected


def test_what_is_left_is_counted_down_to_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    deadline = Deadline(3.0)
    assert (deadline.left_s, deadline.left_us) == (3.0, 3_000_000)
    now = 102.9999951
    assert deadline.left_us == 4  # rounded down
    now = 103.0
    assert (deadline.left_s, deadline.left_us) == (0.0, 1)  # Triton takes 0 for no limit
    now = 200.0
    assert (deadline.left_s, deadline.left_us) == (0.0, 1)


def test_shorter_deadline_governs() -> None:
    deadline = Deadline(3.0)
    assert deadline.at_most(5.0) is deadline
    assert deadline.at_most(1.0).timeout_s == 1.0


@pytest.mark.parametrize("timeout_s", BAD)
def test_timeout_that_cannot_be_waited_is_refused(timeout_s: float) -> None:
    message = rf"^timeout_s is {timeout_s:g}, expected seconds above 0 and at most 2e\+06$".replace("1e+10", r"1e\+10")
    with pytest.raises(ValueError, match=message):
        SifiganClient("127.0.0.1:1", timeout_s=timeout_s)
    with SifiganClient("127.0.0.1:1") as client:
        for synthesize in (client.synthesize, client.synthesize_pcm16):
            with pytest.raises(ValueError, match=message):
                synthesize(*features(2), timeout_s=timeout_s)


@pytest.mark.parametrize("memory", [None, "system"])
@pytest.mark.parametrize("scheme", ["", "grpc://"], ids=["http", "grpc"])
def test_timeout_of_a_call_governs_the_wait_for_a_server_that_says_nothing(scheme: str, memory: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never reads
        url = f"{scheme}127.0.0.1:{silent.getsockname()[1]}"
        with SifiganClient(url, timeout_s=9.0, shared_memory=memory) as client:
            started = time.monotonic()
            with (
                stopwatch() as watch,
                pytest.raises(SynthesisTimeoutError, match=r"did not answer within 0\.4 s"),
            ):
                client.synthesize(*features(2), timeout_s=0.4)
            assert time.monotonic() - started > 0.3
            assert watch.seconds < 3.0


@pytest.mark.server
def test_server_is_told_the_timeout(client: SifiganClient) -> None:
    for timeout_s, expected_us in ((None, 8_000_000), (2.5, 2_500_000), (12.0, 12_000_000)):
        for _ in range(2):  # the second answer comes through shared memory, where that is used
            (told_us,) = set(client.synthesize(*features(4), f0_factor=TELL_TIMEOUT, timeout_s=timeout_s).tolist())
            assert expected_us - 1_000_000 < told_us <= expected_us


@pytest.mark.server
def test_timeout_of_a_call_governs_the_wait_for_its_answer(client: SifiganClient) -> None:
    started = time.monotonic()
    with stopwatch() as watch, pytest.raises(SynthesisTimeoutError, match=r"did not answer within 0\.3 s"):
        client.synthesize(*features(4), seed=800, timeout_s=0.3)
    assert time.monotonic() - started > 0.2
    assert watch.seconds < 0.75
    with SifiganClient(client.url, timeout_s=0.2) as hasty:
        assert set(hasty.synthesize_pcm16(*features(4, 5.0), seed=600, timeout_s=10.0).tolist()) == {5}


@pytest.mark.server
def test_close_waits_for_a_call_that_has_more_time_than_the_client(server: TritonServer) -> None:
    hasty, answers = SifiganClient(f"grpc://{server.grpc_url}", timeout_s=0.2), list[Any]()
    call = threading.Thread(
        target=lambda: answers.append(hasty.synthesize(*features(4, 5.0), seed=900, timeout_s=10.0))
    )
    call.start()
    while not hasty._under_way:
        time.sleep(0.01)
    hasty.close()
    call.join(10.0)
    assert [set(answer.tolist()) for answer in answers] == [{5.0}]


@pytest.mark.server
def test_deadline_that_the_server_counts_is_a_timeout(client: SifiganClient) -> None:
    for _ in range(2):
        with pytest.raises(SynthesisTimeoutError, match=f"{PASSED}$"):
            client.synthesize(*features(4), f0_factor=GIVE_UP)
        assert set(client.synthesize(*features(4, 5.0)).tolist()) == {5.0}


@pytest.mark.server
@pytest.mark.parametrize(
    ("protocol", "status"),
    [(tritonclient.http, "400"), (tritonclient.grpc, "StatusCode.CANCELLED")],
    ids=["http", "grpc"],
)
def test_any_client_sets_a_deadline_and_is_told_that_it_has_passed(
    server: TritonServer, protocol: Any, status: str
) -> None:
    def infer(f0_factor: float) -> Any:
        f0, mcep, bap = features(4)
        tensors = {"f0": f0, "mcep": mcep, "bap": bap, "f0_factor": np.array([f0_factor], np.float32)}
        tensors |= {"seed": np.zeros(1, np.int64), "repair": np.zeros(1, np.bool_)}
        types = {"float32": "FP32", "int64": "INT64", "bool": "BOOL"}
        inputs = [protocol.InferInput(name, values.shape, types[str(values.dtype)]) for name, values in tensors.items()]
        for tensor, values in zip(inputs, tensors.values(), strict=True):
            tensor.set_data_from_numpy(values)
        wanted = [protocol.InferRequestedOutput("waveform")]
        return anyones.infer("sifigan", inputs, outputs=wanted, timeout=3_000_000).as_numpy("waveform")

    address = server.http_url if protocol is tritonclient.http else server.grpc_url
    with protocol.InferenceServerClient(address) as anyones:
        assert set(infer(TELL_TIMEOUT).tolist()) == {3_000_000.0}
        with pytest.raises(InferenceServerException, match=PASSED) as refused:
            infer(GIVE_UP)
    assert refused.value.status() == status

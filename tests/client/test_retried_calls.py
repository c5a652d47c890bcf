"""What both clients ask again, and how often, of servers that refuse, break off, or go away and come back."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio
from tritonclient.utils import InferenceServerException

from sifigan_triton.client import (
    AsyncSifiganClient,
    ServerUnavailableError,
    SifiganClient,
    SynthesisError,
    SynthesisTimeoutError,
    retry,
)
from sifigan_triton.client.async_http_transport import AsyncHttpTransport
from sifigan_triton.client.http_connection import DeadlineConnection
from sifigan_triton.server.triton_server import TritonServer
from tests.client.stub_server import BUSY, CUT, GOOD, SAMPLES, SILENT, answer, grpc_stub, http_stub, nobody
from tests.client.test_threads import WAYS, run_together
from tests.client.toy_ensemble import features, toy
from tests.stopwatch import stopwatch

UNAVAILABLE, INTERNAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL
INVALID = answer("400 Bad Request", b'{"error": "no room"}')


@pytest.fixture(params=["threads", "asyncio"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def call(kind: str, url: str, calls: int = 1, **options: Any) -> list[Any]:
    """Make calls at once on one client; return what each returned or raised."""

    def synthesize(client: SifiganClient) -> Any:
        try:
            return client.synthesize(*features(2))
        except (RuntimeError, OSError) as error:
            return error

    async def together() -> list[Any]:
        async with AsyncSifiganClient(url, **options) as client:
            return await asyncio.gather(
                *[client.synthesize(*features(2)) for _ in range(calls)], return_exceptions=True
            )

    options = {"timeout_s": 20.0} | options
    if kind == "asyncio":
        return asyncio.run(together())
    with SifiganClient(url, **options) as client, ThreadPoolExecutor(calls) as pool:
        return list(pool.map(synthesize, [client] * calls))


@pytest.mark.parametrize(
    "first",
    [
        BUSY,
        CUT,
        answer("502 Bad Gateway", b"<html>"),
        answer("504 Gateway Timeout", b""),
        answer("503 Service Unavailable", b"no healthy upstream"),
        GOOD[:-4],
        GOOD[:20],
    ],
    ids=["503", "cut", "502 of a proxy", "504", "503 of a proxy", "half an answer", "half a head"],
)
def test_http_is_asked_again(kind: str, first: bytes) -> None:
    with http_stub(lambda number: first if number < 3 else GOOD) as stub:
        (waveform,) = call(kind, stub.url)
        assert np.array_equal(waveform, SAMPLES)
        assert len(stub.requests) == 4


def test_grpc_is_asked_again(kind: str) -> None:
    with grpc_stub(lambda number: (UNAVAILABLE, None) if number < 3 else None) as stub:
        (waveform,) = call(kind, stub.url)
        assert np.array_equal(waveform, SAMPLES)
        assert stub.asked == 4
        assert stub.left_s == sorted(stub.left_s, reverse=True)
        assert 20.0 > stub.left_s[0] > stub.left_s[-1] > 15.0


def test_what_the_request_is_to_blame_for_is_asked_once(kind: str) -> None:
    with http_stub(lambda _: INVALID) as http, grpc_stub(lambda _: (INTERNAL, None)) as grpc_server:
        for stub in (http, grpc_server):
            (error,) = call(kind, stub.url)
            assert type(error) is SynthesisError
            assert str(error) == "no room"
        assert (len(http.requests), grpc_server.asked) == (1, 1)


def test_model_that_is_not_there_is_asked_for_once(kind: str) -> None:
    unknown = answer("404 Not Found", b'{"error": "Request for unknown model: \'sifigan\' is not found"}')
    with http_stub(lambda _: unknown) as stub:
        (error,) = call(kind, stub.url)
        assert type(error) is ServerUnavailableError
        assert "cannot serve sifigan: Request for unknown model" in str(error)
        assert len(stub.requests) == 1


def test_deadline_is_never_asked_again(kind: str) -> None:
    with http_stub(lambda _: SILENT) as stub:
        (error,) = call(kind, stub.url, timeout_s=0.4)
        assert type(error) is SynthesisTimeoutError
        assert len(stub.requests) == 1


def test_no_retries_tell_at_once(kind: str) -> None:
    with http_stub(lambda _: BUSY) as http, grpc_stub(lambda _: (UNAVAILABLE, "3")) as grpc_server:
        for stub in (http, grpc_server):
            (error,) = call(kind, stub.url, retries=0)
            assert type(error) is ServerUnavailableError
            assert "no room" in str(error)
        assert error.retry_after_s == 3.0
        assert (len(http.requests), grpc_server.asked) == (1, 1)


def test_wait_that_the_server_asks_for_is_kept(kind: str) -> None:
    later = BUSY.replace(b"\r\n", b"\r\nRetry-After: 1\r\n", 1)
    with (
        http_stub(lambda number: GOOD if number else later) as http,
        grpc_stub(lambda number: None if number else (UNAVAILABLE, "1")) as grpc_server,
    ):
        for url in (http.url, grpc_server.url):
            started = time.monotonic()
            with stopwatch() as watch:
                assert np.array_equal(*call(kind, url), SAMPLES)
            assert time.monotonic() - started >= 1.0
            assert watch.seconds < 2.5


def test_wait_beyond_the_deadline_is_not_begun(kind: str) -> None:
    later = BUSY.replace(b"\r\n", b"\r\nRetry-After: 30\r\n", 1)
    with http_stub(lambda _: later) as http, grpc_stub(lambda _: (UNAVAILABLE, "30")) as grpc_server:
        for url in (http.url, grpc_server.url):
            with stopwatch() as watch:
                (error,) = call(kind, url)
            assert (type(error), error.retry_after_s) == (ServerUnavailableError, 30.0)
            assert watch.seconds < 5.0


@pytest.mark.parametrize("scheme", ["", "grpc://"], ids=["http", "grpc"])
def test_only_the_deadline_ends_the_search_for_a_server(
    kind: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "RESERVE", 0)  # nobody is overloaded by it
    with nobody(scheme) as url:
        with stopwatch() as watch:
            (error,) = call(kind, url, timeout_s=1.0)
        assert type(error) is ServerUnavailableError
        assert watch.seconds < 1.5
        assert "s are left" in error.__notes__[0]


@pytest.mark.parametrize("scheme", ["", "grpc://"], ids=["http", "grpc"])
def test_deadline_that_cuts_the_search_tells_that_nobody_is_there(
    kind: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a slow machine: the deadline passes before the attempt has found that nobody listens."""

    def cut(*_: Any, **__: Any) -> None:
        raise TimeoutError if scheme == "" else InferenceServerException("Deadline", "StatusCode.DEADLINE_EXCEEDED")

    async def cut_later(*_: Any, **__: Any) -> None:
        cut()

    monkeypatch.setattr(DeadlineConnection, "exchange", cut)
    monkeypatch.setattr(AsyncHttpTransport, "_exchange", cut_later)
    monkeypatch.setattr(tritonclient.grpc.InferenceServerClient, "infer", cut)
    monkeypatch.setattr(tritonclient.grpc.aio.InferenceServerClient, "infer", cut_later)
    with nobody(scheme) as url:
        (error,) = call(kind, url, retries=0)
        assert (type(error), error.temporary, error.reached) == (ServerUnavailableError, True, False)
        assert re.match(rf"no Triton server answers at {url}: .*refused", str(error))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (error,) = call(kind, f"{scheme}127.0.0.1:{silent.getsockname()[1]}")
        assert type(error) is SynthesisTimeoutError


def test_overloaded_server_does_not_get_a_multiple_of_the_calls(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "LONGEST_S", 0.01)
    monkeypatch.setattr(retry, "RESERVE", 20)
    with http_stub(lambda _: BUSY) as http, grpc_stub(lambda _: (UNAVAILABLE, "0")) as grpc_server:
        for url in (http.url, grpc_server.url):
            assert {type(result) for result in call(kind, url, calls=100)} == {ServerUnavailableError}
        for asked in (len(http.requests), grpc_server.asked):
            assert 100 + 20 <= asked <= 100 + 20 + 100 // retry.CALLS_PER_RETRY


def test_close_ends_the_waits_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody() as url:
        client = SifiganClient(url, timeout_s=2000.0)
        monkeypatch.setattr(retry, "FIRST_S", 1000.0)
        monkeypatch.setattr(retry, "LONGEST_S", 1000.0)
        threading.Timer(0.5, client.close).start()
        with (
            stopwatch() as watch,
            pytest.raises(ServerUnavailableError, match=r"this client of .* has been closed"),
        ):
            client.synthesize(*features(2))
        assert watch.seconds < 1.5


@contextmanager
def clients(http: str, grpc_url: str) -> Iterator[list[SifiganClient]]:
    """Open a client for each protocol, with and without shared memory."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                SifiganClient(http if protocol == "http" else grpc_url, timeout_s=60.0, shared_memory=memory)  # type: ignore[arg-type]
            )
            for protocol, memory in WAYS.values()
        ]


@pytest.mark.server
def test_no_call_fails_while_the_server_is_killed_and_started_anew(tmp_path: Path) -> None:
    models, rounds = toy(tmp_path), 40
    with TritonServer(models, http_port=0, grpc_port=0, metrics_port=0, client_shared_memory=True) as first:
        http, grpc_port = (int(address.rpartition(":")[2]) for address in (first.http_url, first.grpc_url))
        urls, begun = (first.http_url, f"grpc://{first.grpc_url}"), threading.Barrier(10)

        def threads(client: SifiganClient) -> set[float]:
            begun.wait(60.0)
            return {v for _ in range(rounds) for v in client.synthesize(*features(10, 5.0), seed=100).tolist()}

        async def tasks(url: str) -> set[float]:
            async with AsyncSifiganClient(url, timeout_s=60.0) as client:
                await client.synthesize(*features(10))
                begun.wait(60.0)
                calls = [client.synthesize(*features(10, 5.0), seed=100) for _ in range(rounds)]
                return {v for answer in await asyncio.gather(*calls) for v in answer.tolist()}

        def fault() -> str:
            begun.wait(60.0)
            time.sleep(1.0)
            assert first.pid is not None
            os.kill(first.pid, signal.SIGKILL)
            first.stop()
            second.start()
            return "restarted"

        second = TritonServer(models, http_port=http, grpc_port=grpc_port, metrics_port=0, client_shared_memory=True)
        with clients(*urls) as opened:
            jobs = [lambda client=client: threads(client) for client in opened]
            jobs += [lambda client=client: threads(client) for client in opened[:3]]
            jobs += [lambda url=url: asyncio.run(tasks(url)) for url in urls]
            try:
                assert run_together(fault, *jobs) == ["restarted", *[{5.0}] * len(jobs)]
            finally:
                second.stop()

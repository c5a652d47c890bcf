"""The asyncio client: the sync client's audio and errors, many calls at once, cancelled ones, and its end."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2_grpc

from benchmarks.tracks import shipped
from sifigan_triton.client import (
    AsyncSifiganClient,
    FeaturesError,
    ServerUnavailableError,
    SifiganClient,
    SynthesisError,
    SynthesisTimeoutError,
    http_messages,
)
from sifigan_triton.server.triton_server import TritonServer
from tests.client.stub_server import GOOD, SILENT, answer, http_stub, nobody
from tests.client.test_imports import loaded, private
from tests.client.toy_ensemble import GIVE_UP, TELL_TIMEOUT, features
from tests.conftest import Deployment
from tests.stopwatch import stopwatch

SUNG = shipped("short")[0]
AT_ONCE = 64


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(server: TritonServer, protocol: str) -> str:
    return server.http_url if protocol == "http" else f"grpc://{server.grpc_url}"


def with_client(url: str, job: Callable[[AsyncSifiganClient], Awaitable[Any]], **options: Any) -> Any:
    """Return what a job does with a client, in an event loop of its own."""

    async def run() -> Any:
        async with AsyncSifiganClient(url, **options) as client:
            return await job(client)

    return asyncio.run(run())


@pytest.mark.server
def test_audio_is_that_of_the_other_client(small_deployment: Deployment, protocol: str) -> None:
    cuts = [SUNG.first(20 + 30 * number) for number in range(5)]
    address = small_deployment.urls[protocol]

    async def synthesize(client: AsyncSifiganClient) -> list[Any]:
        floats = [client.synthesize(cut.f0, cut.mcep, cut.bap, 1.5, seed) for seed, cut in enumerate(cuts)]
        whole = [client.synthesize_pcm16(cut.f0.tolist(), cut.mcep, cut.bap) for cut in cuts]
        return await asyncio.gather(*floats, *whole)

    found = with_client(address, synthesize)
    with SifiganClient(address) as client:
        expected = [client.synthesize(cut.f0, cut.mcep, cut.bap, 1.5, seed) for seed, cut in enumerate(cuts)]
        expected += [client.synthesize_pcm16(cut.f0, cut.mcep, cut.bap) for cut in cuts]
    for mine, other in zip(found, expected, strict=True):
        assert mine.dtype == other.dtype
        assert mine.flags.writeable
        assert np.array_equal(mine, other)


BAD: dict[str, tuple[type[Exception], tuple[Any, ...], dict[str, Any]]] = {
    "refused": (SynthesisError, features(0), {}),
    "another voice": (FeaturesError, (np.ones(4), np.zeros((4, 25)), np.zeros((4, 3))), {}),
    "frames": (FeaturesError, (np.ones(4), np.zeros((5, 40)), np.zeros((5, 3))), {}),
    "late at the server": (SynthesisTimeoutError, features(4), {"f0_factor": GIVE_UP}),
    "late": (SynthesisTimeoutError, features(4), {"seed": 900, "timeout_s": 0.3}),
    "no time": (ValueError, features(4), {"timeout_s": 0.0}),
}


@pytest.mark.server
@pytest.mark.parametrize("name", BAD)
def test_errors_are_those_of_the_other_client(url: str, name: str) -> None:
    error, arguments, options = BAD[name]
    with SifiganClient(url) as client, pytest.raises(error) as other:
        client.synthesize(*arguments, **options)
    with pytest.raises(error) as mine:
        with_client(url, lambda client: client.synthesize(*arguments, **options))
    assert (type(mine.value), str(mine.value)) == (type(other.value), str(other.value))


@pytest.mark.server
def test_wrong_port_and_unknown_model_are_told_as_by_the_other_client(server: TritonServer) -> None:
    for url, model in (
        (server.grpc_url, "sifigan"),
        (f"grpc://{server.http_url}", "sifigan"),
        (server.metrics_url, "sifigan"),
        (server.http_url, "a/b c"),
        (f"grpc://{server.grpc_url}", "a/b c"),
    ):
        with SifiganClient(url, model) as client, pytest.raises(ServerUnavailableError) as other:
            client.synthesize(*features(4))
        with pytest.raises(ServerUnavailableError) as mine:
            with_client(url, lambda client: client.synthesize(*features(4)), model=model)
        assert str(mine.value) == str(other.value)


@pytest.mark.server
def test_calls_at_once_each_get_their_own_answer(url: str) -> None:
    async def synthesize(client: AsyncSifiganClient) -> list[Any]:
        calls = [client.synthesize(*features(200, float(number)), seed=10) for number in range(1, AT_ONCE + 1)]
        return await asyncio.gather(*calls)

    answers = with_client(url, synthesize, timeout_s=60.0)
    assert [set(answer.tolist()) for answer in answers] == [{float(number)} for number in range(1, AT_ONCE + 1)]


@pytest.mark.server
def test_server_is_told_the_timeout(url: str) -> None:
    (told_us,) = set(with_client(url, lambda client: client.synthesize(*features(4), TELL_TIMEOUT, timeout_s=2.5)))
    assert 1_500_000 < told_us <= 2_500_000


@pytest.mark.server
def test_steps_are_those_of_the_other_client(server: TritonServer, url: str) -> None:
    with SifiganClient(url) as client:
        assert with_client(url, lambda mine: mine.steps(server.metrics_url)) == client.steps(server.metrics_url)
        assert with_client(url, lambda mine: mine.steps())["sifigan"].requests > 0


@pytest.mark.server
def test_close_waits_for_other_tasks_and_refuses_later_calls(url: str) -> None:
    async def run() -> None:
        client = AsyncSifiganClient(url)
        call = asyncio.create_task(client.synthesize(*features(10, 5.0), seed=500))
        await asyncio.sleep(0.2)
        await client.close()
        assert call.done()
        assert set(call.result().tolist()) == {5.0}
        for refused in (client.synthesize(*features(4)), client.steps()):
            with pytest.raises(ServerUnavailableError, match="has been closed: open a new one"):
                await refused
        await client.close()

    asyncio.run(run())


async def cancel(client: AsyncSifiganClient, begun: threading.Event) -> None:
    """Cancel a call that has reached the server."""
    call = asyncio.create_task(client.synthesize(*features(4)))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


def test_cancelled_call_closes_its_connection_and_no_other() -> None:
    begun = threading.Event()

    def reply(number: int) -> bytes | None:
        if number:
            return GOOD
        begun.set()
        return SILENT

    async def run(client: AsyncSifiganClient) -> None:
        await cancel(client, begun)
        for _ in range(50):
            if stub.gone.is_set():
                break
            await asyncio.sleep(0.1)
        assert stub.gone.is_set()
        assert (await client.synthesize(*features(2))).size == 8

    with http_stub(reply) as stub:
        with_client(stub.url, run)
        assert len(stub.requests) == 2


def test_cancelled_call_ends_its_stream() -> None:
    begun, gone = threading.Event(), threading.Event()

    class Silent(service_pb2_grpc.GRPCInferenceServiceServicer):
        def ModelInfer(self, request: Any, context: Any) -> None:  # noqa: N802 (the protocol's name)
            context.add_callback(gone.set)
            begun.set()
            time.sleep(0.5)
            assert gone.wait(10.0)

    stub = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Silent(), stub)
    port = stub.add_insecure_port("127.0.0.1:0")
    stub.start()
    with_client(f"grpc://127.0.0.1:{port}", lambda client: cancel(client, begun))
    assert gone.wait(5.0)
    stub.stop(0.0).wait(10.0)


@pytest.mark.parametrize("scheme", ["", "grpc://"], ids=["http", "grpc"])
def test_call_that_waits_to_be_made_again_can_be_cancelled_and_ends_with_the_client(scheme: str) -> None:
    async def run(url: str) -> None:
        client = AsyncSifiganClient(url)
        first, second = (asyncio.create_task(client.synthesize(*features(2))) for _ in range(2))
        await asyncio.sleep(1.0)
        first.cancel()
        await client.close()
        assert first.cancelled()
        with pytest.raises(ServerUnavailableError, match="has been closed"):
            await second

    with nobody(scheme) as url:
        with stopwatch() as watch:
            asyncio.run(run(url))
        assert watch.seconds < 7.0  # an attempt's wait is up to 5 s


def test_loop_is_never_held_up() -> None:
    """The question which protocol a port speaks is asked in a thread."""

    async def longest_tick_s(client: AsyncSifiganClient) -> float:
        call, longest, before = asyncio.create_task(client.synthesize(*features(2))), 0.0, 0.0
        with stopwatch() as watch:
            while not call.done():
                await asyncio.sleep(0.01)
                longest, before = max(longest, watch.seconds - before), watch.seconds
        with pytest.raises(ServerUnavailableError, match="no Triton server answers"):
            await call
        return longest

    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Only the first connection is taken, and ended at once. The system takes the question, and nobody answers it.
        threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert with_client(address, longest_tick_s, retries=0) < 1.0


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (answer("200 OK", b"<html>"), "answers '<html>': expected Triton's HTTP port there"),
        (answer("302 Found", b"", "Location: /"), "answers '302': expected Triton's HTTP port there"),
        (GOOD.replace(b"HTTP/1.1", b"SMTP"), "SMTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000000\r\n\r\n", "expected at most 40"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n29\r\n" + b"x" * 41 + b"\r\n0\r\n\r\n", "at most 40"),
        (answer("200 OK", b"x" * 20, "Content-Encoding: gzip"), "answers 'xxxxxxxxxxxxxxxxxxxx': expected Triton's"),
    ],
    ids=["a web page", "elsewhere", "no HTTP", "announced", "too long", "packed"],
)
def test_answers_that_are_none(reply: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_messages, "LONGEST_ANSWER", 40)
    with http_stub(lambda _: reply) as stub, pytest.raises(ServerUnavailableError, match=message):
        with_client(stub.url, lambda client: client.synthesize(*features(2)))
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    "arguments", [{"url": "https://a:1"}, {"timeout_s": 0.0}, {"model": "\udc80"}, {"retries": -1}]
)
def test_constructor_refuses_what_the_other_one_refuses(arguments: dict[str, Any]) -> None:
    messages = []
    for kind in (SifiganClient, AsyncSifiganClient):
        with pytest.raises(ValueError, match=r" is .*expected ") as refused:
            kind(**{"url": "127.0.0.1:1"} | arguments)  # type: ignore[operator]
        messages.append(str(refused.value))
    assert messages[0] == messages[1]


def test_grpc_needs_no_aiohttp_and_http_no_grpc() -> None:
    opened = "from sifigan_triton.client import AsyncSifiganClient; AsyncSifiganClient({!r})"
    assert "aiohttp" not in private(loaded(opened.format("grpc://localhost:8001")))
    assert not {"grpc", "tritonclient"} & private(loaded(opened.format("localhost:8000")))


def test_missing_aiohttp_is_named_with_the_fix() -> None:
    code = "import sys; sys.modules['aiohttp'] = None\nfrom sifigan_triton.client import AsyncSifiganClient\n"
    code += "AsyncSifiganClient('grpc://localhost:8001')\nAsyncSifiganClient('localhost:8000')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "needs aiohttp" in done.stderr
    assert "pip install 'sifigan-triton[aio]', or use grpc://" in done.stderr.splitlines()[-1]

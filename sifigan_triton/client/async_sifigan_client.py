"""Client of the ensemble for asyncio: the calls, answers and errors of `SifiganClient`, over HTTP or gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from sifigan_triton.client.address import Address, check_model
from sifigan_triton.client.deadline import Deadline, check_timeout
from sifigan_triton.client.errors import ServerUnavailableError, SynthesisError
from sifigan_triton.client.feature_stream import Arriving, AsyncFeatureStream
from sifigan_triton.client.features import explain_refusal, request_tensors
from sifigan_triton.client.own_counts import read_page, with_own_counts
from sifigan_triton.client.retry import RETRIES, Retries
from sifigan_triton.client.sifigan_client import ENSEMBLE, T
from sifigan_triton.client.step_statistics import StepStatistics
from sifigan_triton.client.stream import Chunk, Ranges, Served, async_one_by_one
from sifigan_triton.client.transport import AsyncTransport


class AsyncSifiganClient:
    """Connection to a Triton server that serves the ensemble `sifigan`, for the tasks of one event loop.

    Any number of tasks may share one client. A call that is cancelled closes its connection (HTTP) or ends its stream
    (gRPC), so that the server, or what stands before it, can notice.
    """

    def __init__(
        self, url: str = "localhost:8000", model: str = ENSEMBLE, timeout_s: float = 300.0, retries: int = RETRIES
    ) -> None:
        """Prepare a connection; nothing is sent yet. The arguments are those of `SifiganClient`.

        Raises:
            ValueError: if the URL is none, the model's name no text, `timeout_s` no time, or `retries` no number from
                0.
            ModuleNotFoundError: if the URL is one of HTTP, and there is no aiohttp.

        """
        self._address = Address.parse(url)
        self.url, self.model, self.timeout_s = url, check_model(model), check_timeout(timeout_s)
        self._retries = Retries(retries)
        self._transport = _connect(self._address)
        self._under_way = 0
        self._served: Served | None = None
        self._closed, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    async def synthesize(
        self,
        f0: npt.ArrayLike,
        mcep: npt.ArrayLike,
        bap: npt.ArrayLike,
        f0_factor: float = 1.0,
        seed: int = 0,
        repair: bool = False,
        timeout_s: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Synthesise one utterance of any length with one call, as `SifiganClient.synthesize` does."""
        tensors = request_tensors(f0, mcep, bap, f0_factor, seed, repair)
        waveform: npt.NDArray[np.float32] = await self._infer("waveform", tensors, timeout_s)
        return waveform

    async def synthesize_pcm16(
        self,
        f0: npt.ArrayLike,
        mcep: npt.ArrayLike,
        bap: npt.ArrayLike,
        f0_factor: float = 1.0,
        seed: int = 0,
        repair: bool = False,
        timeout_s: float | None = None,
    ) -> npt.NDArray[np.int16]:
        """Synthesise like `synthesize`, but let the server round to 16 bits: half the bytes of the answer."""
        tensors = request_tensors(f0, mcep, bap, f0_factor, seed, repair)
        pcm16: npt.NDArray[np.int16] = await self._infer("pcm16", tensors, timeout_s)
        return pcm16

    def stream(
        self,
        f0: npt.ArrayLike,
        mcep: npt.ArrayLike,
        bap: npt.ArrayLike,
        f0_factor: float = 1.0,
        seed: int = 0,
        repair: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Chunk, None]:
        """Synthesise one utterance piece by piece, as `SifiganClient.stream` does.

        What is under way when the iterator is closed (`contextlib.aclosing`) is cancelled.
        """
        ranges = Ranges(request_tensors(f0, mcep, bap, f0_factor, seed, repair))
        return self._stream(ranges, self.timeout_s if timeout_s is None else check_timeout(timeout_s))

    def open_stream(
        self,
        f0_factor: float = 1.0,
        seed: int = 0,
        max_lookahead_frames: int | None = None,
        timeout_s: float | None = None,
    ) -> AsyncFeatureStream:
        """Begin an utterance whose features arrive in pieces, as `SifiganClient.open_stream` does."""
        limit_s = self.timeout_s if timeout_s is None else check_timeout(timeout_s)

        def ask(tensors: dict[str, npt.NDArray[Any]]) -> Coroutine[Any, Any, Any]:
            return self._infer("waveform", tensors, limit_s)

        arriving = Arriving(f0_factor, seed, max_lookahead_frames)
        return AsyncFeatureStream(arriving, self.model, lambda: self._look(limit_s), ask)

    async def steps(self, metrics_url: str | None = None) -> dict[str, StepStatistics]:
        """Return what each model has done since the server started, as `SifiganClient.steps` does."""
        deadline = Deadline(self.timeout_s)
        with self._request():
            steps = await self._ask(lambda: self._transport.statistics(deadline), deadline)
            if metrics_url is None:
                return steps
            return with_own_counts(steps, await asyncio.to_thread(read_page, metrics_url, deadline))

    async def close(self) -> None:
        """Wait for the requests of other tasks, and close the connection.

        A request that no server has taken yet is not made again. A second call does nothing.
        """
        self._closed.set()
        await self._idle.wait()
        await self._transport.close()

    async def __aenter__(self) -> AsyncSifiganClient:
        """Return the client; it is closed at the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()

    @contextmanager
    def _request(self) -> Iterator[None]:
        """Count a request as under way, so that `close` waits for it."""
        if self._closed.is_set():
            raise self._address.closed()
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _infer(self, output: str, tensors: dict[str, npt.NDArray[Any]], timeout_s: float | None) -> Any:
        deadline = Deadline(self.timeout_s if timeout_s is None else timeout_s)
        with self._request():
            try:
                answer = await self._ask(lambda: self._transport.infer(self.model, tensors, output, deadline), deadline)
            except SynthesisError as refusal:
                raise explain_refusal(refusal) from None
            return answer.values

    async def _stream(self, ranges: Ranges, timeout_s: float) -> AsyncGenerator[Chunk, None]:
        def ask(tensors: dict[str, npt.NDArray[Any]]) -> Coroutine[Any, Any, Any]:
            return self._infer("waveform", tensors, timeout_s)

        async with aclosing(async_one_by_one(ranges.requests(await self._look(timeout_s)), ask)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _look(self, timeout_s: float) -> Served:
        """Ask once what the served voice and engine are."""
        if self._served is None:
            deadline = Deadline(timeout_s)
            with self._request():
                parameters = await self._ask(lambda: self._transport.parameters(self.model, deadline), deadline)
            self._served = Served.of(self.model, parameters)
        return self._served

    async def _ask(self, once: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        """Return what a call returns, made again as `retry` says; one that waits for that ends when `close` comes."""
        attempts = self._retries.begin(deadline)
        while True:
            try:
                return await once()
            except ServerUnavailableError as failure:
                wait_s = attempts.wait_s(failure)
            try:
                await asyncio.wait_for(self._closed.wait(), wait_s)
            except TimeoutError:
                continue
            raise self._address.closed()


def _connect(address: Address) -> AsyncTransport:
    if address.protocol == "grpc":
        from sifigan_triton.client.async_grpc_transport import AsyncGrpcTransport  # HTTP needs no grpc

        return AsyncGrpcTransport(address)
    try:
        from sifigan_triton.client.async_http_transport import AsyncHttpTransport
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"HTTP under asyncio needs aiohttp ({error}): pip install 'sifigan-triton[aio]', or use grpc://",
            name=error.name,
        ) from None
    return AsyncHttpTransport(address)

"""Client of the ensemble: one call, features in, waveform out, over HTTP or gRPC, if wanted through shared memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sifigan_triton.client.address import Address, check_model
from sifigan_triton.client.deadline import Deadline, check_timeout
from sifigan_triton.client.errors import ServerUnavailableError, SynthesisError
from sifigan_triton.client.feature_stream import Arriving, FeatureStream
from sifigan_triton.client.features import explain_refusal, request_tensors
from sifigan_triton.client.http_transport import HttpTransport
from sifigan_triton.client.own_counts import read_page, with_own_counts
from sifigan_triton.client.retry import RETRIES, Retries
from sifigan_triton.client.shared_memory import SharedMemoryKind
from sifigan_triton.client.shared_requests import SharedRequests
from sifigan_triton.client.step_statistics import StepStatistics
from sifigan_triton.client.stream import Chunk, Ranges, Served, one_by_one
from sifigan_triton.client.transport import Transport

ENSEMBLE = "sifigan"
T = TypeVar("T")


class SifiganClient:
    """Connection to a Triton server that serves the ensemble `sifigan`.

    Any number of threads may share one client, also `asyncio.to_thread`, over HTTP, gRPC and shared memory: each
    request is answered as if it were alone. As many at once open as many connections (HTTP) and sets of regions (shared
    memory), which are kept. `close` may be called from any thread: it waits for the requests that are under way, and
    later ones are refused. A client does not survive a fork: open one in each process.
    """

    def __init__(
        self,
        url: str = "localhost:8000",
        model: str = ENSEMBLE,
        timeout_s: float = 300.0,
        shared_memory: SharedMemoryKind | None = None,
        retries: int = RETRIES,
    ) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            url: `host:port` or `http://host:port` for HTTP, `grpc://host:port` for gRPC.
            model: name of the ensemble.
            timeout_s: longest wait for an answer, in seconds. It travels with each request as its deadline: the server
                gives up what nobody waits for any more.
            shared_memory: "system" to hand tensors over in memory that a server on the same machine opens, "cuda" for
                memory of its first GPU; None sends them. The server has to allow it (`serve --client-shared-memory`).
                The first answer of a client is sent in any case: it tells how long later ones are.
            retries: how often a call is made again at most while no server answers, or one refuses for now, as `retry`
                says; 0 tells of it at once.

        Raises:
            ValueError: if the URL is none of these, the model's name no text, `timeout_s` no time, `retries` no number
                from 0, or there is no such kind of shared memory.

        """
        self._address = Address.parse(url)
        if shared_memory not in (None, "system", "cuda"):
            raise ValueError(f"shared_memory is {shared_memory!r}, expected 'system', 'cuda' or None")
        self.url, self.model, self.timeout_s = url, check_model(model), check_timeout(timeout_s)
        self._retries = Retries(retries)
        self._transport = _connect(self._address)
        self._shared = None if shared_memory is None else SharedRequests(self._transport, shared_memory, url)
        self._changed = threading.Condition()
        self._under_way, self._closed, self._longest_s = 0, False, timeout_s
        self._served: Served | None = None

    def synthesize(
        self,
        f0: npt.ArrayLike,
        mcep: npt.ArrayLike,
        bap: npt.ArrayLike,
        f0_factor: float = 1.0,
        seed: int = 0,
        repair: bool = False,
        timeout_s: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Synthesise one utterance of any length with one call.

        Args:
            f0: (T,) in Hz, 0 where unvoiced.
            mcep: (T, coefficients), mel-cepstrum as SPTK gives it; 40 coefficients for most voices.
            bap: (T, bands), band aperiodicity in dB as WORLD gives it; 3 bands at 24 kHz.
            f0_factor: factor on `f0`; 1 keeps the pitch, 2 is an octave up.
            seed: seed of the excitation's noise: the same seed gives the same audio.
            repair: whether the server may replace frames that hold NaN or Inf by the nearest finite ones.
            timeout_s: longest wait for this answer, in seconds; None: the client's.

        Returns:
            float32 (T * 120,), the waveform at 24 kHz, in [-1, 1].

        Raises:
            FeaturesError: if a shape or data type cannot be right, or is not the served voice's; a ValueError, too.
            ValueError: if `timeout_s` is no time.
            SynthesisError: if the server refuses the request, with its reason.
            ServerUnavailableError: if no server answers, or it does not serve the model or refuses for now, after the
                last retry; or the client has been closed.
            SynthesisTimeoutError: if the answer takes longer than `timeout_s`, here or by the server's count.
            SharedMemoryError: if client and server cannot share memory, where that was asked for.

        """
        tensors = request_tensors(f0, mcep, bap, f0_factor, seed, repair)
        waveform: npt.NDArray[np.float32] = self._infer("waveform", tensors, timeout_s)
        return waveform

    def synthesize_pcm16(
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
        pcm16: npt.NDArray[np.int16] = self._infer("pcm16", tensors, timeout_s)
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
    ) -> Generator[Chunk, None, None]:
        """Synthesise one utterance piece by piece: the first sound comes at once, and no length is too long.

        The pieces, joined, are what `synthesize` returns, to rounding, and the same bits each time. They are asked for
        while the ones before are used, two at a time: who stops taking them stops the work. Nothing is shared by
        memory. Each piece has its own time-out and retries.

        Args:
            f0: (T,) in Hz, 0 where unvoiced; all arguments are those of `synthesize`.
            mcep: (T, coefficients).
            bap: (T, bands).
            f0_factor: factor on `f0`.
            seed: seed of the excitation's noise.
            repair: whether to replace frames that hold NaN or Inf by the nearest finite ones.
            timeout_s: longest wait for each piece, in seconds; None: the client's.

        Returns:
            An iterator of `Chunk`s; `close` it, or let it go, to leave early.

        Raises:
            FeaturesError: at once, if a shape or data type cannot be right.
            SynthesisError: where the server refuses a piece, behind the audio before it, and so the other errors of
                `synthesize`.

        """
        ranges = Ranges(request_tensors(f0, mcep, bap, f0_factor, seed, repair))
        return self._stream(ranges, self.timeout_s if timeout_s is None else check_timeout(timeout_s))

    def open_stream(
        self,
        f0_factor: float = 1.0,
        seed: int = 0,
        max_lookahead_frames: int | None = None,
        timeout_s: float | None = None,
    ) -> FeatureStream:
        """Begin an utterance whose features arrive in pieces, while they are being predicted.

        Each frame's audio is made as soon as no later frame can change it. The pieces, joined, are what `synthesize`
        returns for all frames, to rounding. Nothing is sent yet, and the server keeps nothing.

        Args:
            f0_factor: factor on `f0`.
            seed: seed of the excitation's noise.
            max_lookahead_frames: frames that audio may wait for at most. It is exact no more where the network looks
                further, or F0 is not known, across an unvoiced gap: there it is made as if the utterance ended with the
                frame that came last. None: all is exact.
            timeout_s: longest wait for each piece, in seconds; None: the client's.

        Raises:
            ValueError: if `max_lookahead_frames` is no number from 0, or `timeout_s` no time.

        """
        limit_s = self.timeout_s if timeout_s is None else check_timeout(timeout_s)

        def ask(tensors: dict[str, npt.NDArray[Any]]) -> Any:
            return self._infer("waveform", tensors, limit_s, share=False)

        arriving = Arriving(f0_factor, seed, max_lookahead_frames)
        return FeatureStream(arriving, self.model, lambda: self._look(limit_s), ask)

    def steps(self, metrics_url: str | None = None) -> dict[str, StepStatistics]:
        """Return what each model has done since the server started, by model name.

        Args:
            metrics_url: `host:port` of the server's metrics, where `preprocess` and the engines in Python models count
                their times and windows; without it their times are only what it took to accept the requests.

        Raises:
            ValueError: if `metrics_url` is no address.
            ServerUnavailableError: if no server answers, or the client has been closed.
            SynthesisTimeoutError: if the answer takes longer than `timeout_s`.

        """
        deadline = Deadline(self.timeout_s)
        with self._request(deadline):
            steps = self._ask(lambda: self._transport.statistics(deadline), deadline)
            return steps if metrics_url is None else with_own_counts(steps, read_page(metrics_url, deadline))

    def close(self) -> None:
        """Wait for the requests of other threads, close the connection, and give shared memory back.

        A request that no server has taken yet is not made again. A second call does nothing.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._under_way, self._longest_s)
        if self._shared is not None:
            self._shared.close()
        self._transport.close()

    def __enter__(self) -> SifiganClient:
        """Return the client; it is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    @contextmanager
    def _request(self, deadline: Deadline) -> Iterator[None]:
        """Count a request as under way, so that `close` waits for it."""
        with self._changed:
            if self._closed:
                raise self._address.closed()
            self._under_way += 1
            self._longest_s = max(self._longest_s, deadline.timeout_s)
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _infer(
        self, output: str, tensors: dict[str, npt.NDArray[Any]], timeout_s: float | None, share: bool = True
    ) -> Any:
        deadline = Deadline(self.timeout_s if timeout_s is None else timeout_s)

        def once() -> Any:
            if share and self._shared is not None and all(values.size for values in tensors.values()):
                return self._shared.infer(self.model, tensors, output, deadline)
            return self._transport.infer(self.model, tensors, output, {}, deadline).values  # no regions of 0 bytes

        with self._request(deadline):
            try:
                return self._ask(once, deadline)
            except SynthesisError as refusal:
                raise explain_refusal(refusal) from None

    def _stream(self, ranges: Ranges, timeout_s: float) -> Generator[Chunk, None, None]:
        def ask(tensors: dict[str, npt.NDArray[Any]]) -> Any:
            return self._infer("waveform", tensors, timeout_s, share=False)

        yield from one_by_one(ranges.requests(self._look(timeout_s)), ask)

    def _look(self, timeout_s: float) -> Served:
        """Ask once what the served voice and engine are."""
        if self._served is None:
            deadline = Deadline(timeout_s)
            with self._request(deadline):
                parameters = self._ask(lambda: self._transport.parameters(self.model, deadline), deadline)
            self._served = Served.of(self.model, parameters)
        return self._served

    def _ask(self, once: Callable[[], T], deadline: Deadline) -> T:
        """Return what a call returns, made again as `retry` says; one that waits for that ends when `close` comes."""
        attempts = self._retries.begin(deadline)
        while True:
            try:
                return once()
            except ServerUnavailableError as failure:
                wait_s = attempts.wait_s(failure)
            with self._changed:
                if self._changed.wait_for(lambda: self._closed, wait_s):
                    raise self._address.closed()


def _connect(address: Address) -> Transport:
    if address.protocol == "http":
        return HttpTransport(address)
    from sifigan_triton.client.grpc_transport import GrpcTransport  # HTTP needs no grpc

    return GrpcTransport(address)

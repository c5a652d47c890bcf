"""One utterance of any length as a row of ranges: what is asked, in which sizes, and when. Nothing is sent here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocess.excitation import CYCLE, frame_phases
from preprocess.f0 import continuous_f0
from preprocess.names import PHASE, RANGE, VOICED_AROUND
from preprocess.repair import repair
from preprocess.validate import RequestError
from sifigan_triton.client.errors import FeaturesError, SynthesisError

IN_FLIGHT = 2
"""Ranges that are asked for at a time: one is computed while another travels. The first goes alone: nothing delays
it."""
LOAD = 0.8
"""The share of the time that the smallest window plays which an engine may take for it: up to here nothing stops."""
HALO_COST = 0.2
"""What a frame of both halos costs, in frames of the window, as the engine's own choice of windows has it."""

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Chunk:
    """Audio of some frames."""

    first_frame: int
    waveform: npt.NDArray[np.float32]
    """(frames * samples a frame,), in [-1, 1]."""


@dataclass(frozen=True)
class Served:
    """What a client has to know of the served voice and engine."""

    sample_rate: int
    hop_size: int
    halo: int
    """Frames around a range that are always enough, at each side."""
    windows: tuple[int, ...]
    """Frames of the windows that the engine computes, the smallest first."""
    f0_floor: float = 0.0
    """Lowest F0 that the engine promises, in Hz; this and the next one only a stream of features has to know."""
    network: str = ""
    """JSON of what tells where the network's taps lie."""

    @classmethod
    def of(cls, model: str, parameters: Mapping[str, str]) -> Served:
        """Read the parameters of an ensemble's configuration.

        Raises:
            SynthesisError: if they do not tell.

        """
        try:
            sample_rate, hop_size, halo = (int(parameters[name]) for name in ("sample_rate", "hop_size", "halo"))
            windows = tuple(sorted(int(size) for size in parameters["windows"].split()))
            f0_floor = float(parameters.get("f0_floor", "0"))
            if min(sample_rate, hop_size, halo + 1, *windows) < 1 or not windows:
                raise ValueError(f"sample_rate {sample_rate}, hop_size {hop_size}, halo {halo}, windows {windows}")
        except (LookupError, ValueError) as error:
            raise SynthesisError(
                f"{model} does not tell what a stream has to know ({error!r} in its configuration): build its "
                "repository anew, with this release"
            ) from None
        return cls(sample_rate, hop_size, halo, windows, f0_floor, parameters.get("network", ""))


def ramp(windows: tuple[int, ...], halo: int) -> Iterator[int]:
    """Yield the frames of one range after the other, without an end.

    The rule: the first range is the smallest window, and each later one the largest window that an engine makes before
    the audio ahead of it has been played, if it takes `LOAD` of real time for the smallest one. So playback that begins
    with the first range never stops where the engine is that fast. Sizes do not depend on what was measured: the same
    utterance is cut in the same way each time, and gives the same bits.

    Args:
        windows: frames of the windows that the engine computes, the smallest first.
        halo: frames that each of them sees at both sides.

    """
    context = HALO_COST * halo
    pace = LOAD * windows[0] / (windows[0] + context)
    ahead = 0.0  # frames that are not played yet when a range begins to be computed
    size = windows[0]
    while True:
        yield size
        ahead += size - (pace * (size + context) if ahead else 0.0)
        size = max((window for window in windows if pace * (window + context) <= ahead), default=windows[0])


class Ranges:
    """The requests of one utterance."""

    def __init__(self, tensors: Tensors) -> None:
        """Take the tensors of a request as `request_tensors` makes them.

        Raises:
            FeaturesError: if there is no frame, or none to mend others from.

        """
        if not tensors["f0"].size:
            raise FeaturesError("f0 has 0 frames, expected at least 1")
        self._features = {name: tensors[name] for name in ("f0", "mcep", "bap")}
        self._options = {name: tensors[name] for name in ("f0_factor", "seed")}
        if tensors["repair"][0]:  # with the nearest frame of all, which a range may not hold
            try:
                self._features = repair(self._features)
            except RequestError as error:
                raise FeaturesError(f"{error}") from None
        f0 = self._features["f0"]
        self._f0 = np.where((f0 > 0.0) & np.isfinite(f0), f0, np.float32(0.0))  # what is none is the server's to refuse
        self._voiced = np.flatnonzero(self._f0)

    @property
    def frames(self) -> int:
        """Frames of the utterance."""
        return int(self._f0.size)

    def requests(self, served: Served) -> Iterator[tuple[int, Tensors]]:
        """Yield the first frame of each range and the tensors that ask for it, in order."""
        phases, first = self.phases(served), 0
        for size in ramp(served.windows, served.halo):
            end = min(first + size, self.frames)
            sent = max(first - served.halo, 0), min(end + served.halo, self.frames)
            yield first, self.request((first, end), sent, phases[first])
            first = end
            if first == self.frames:
                return

    def phases(self, served: Served) -> npt.NDArray[np.float64]:
        """Return the sine's phase at the beginning of each frame, and behind the last: float64 (T + 1,), in cycles."""
        with np.errstate(all="ignore"):
            cf0 = continuous_f0(self._f0) * float(self._options["f0_factor"][0])
            return frame_phases(cf0, served.sample_rate, served.hop_size) / CYCLE

    def request(self, wanted: tuple[int, int], sent: tuple[int, int], phase: float) -> Tensors:
        """Return the tensors that ask for the frames [first, end) and bring the frames [start, stop).

        Args:
            wanted: first and end.
            sent: start and stop.
            phase: the sine's phase at the beginning of `first`, in cycles.

        """
        start, stop = sent
        before = self._voiced[: np.searchsorted(self._voiced, start)][-1:]
        behind = self._voiced[np.searchsorted(self._voiced, stop) :][:1]
        around = [value for at in (before, behind) for value in ((at[0], self._f0[at[0]]) if at.size else (-1, 0))]
        return {
            **{name: values[start:stop] for name, values in self._features.items()},
            **self._options,
            RANGE: np.array([start, *wanted, self.frames], np.int64),
            PHASE: np.array([phase], np.float64),
            VOICED_AROUND: np.array(around, np.float64),
        }


def one_by_one(
    requests: Iterator[tuple[int, Tensors]], infer: Callable[[Tensors], npt.NDArray[np.float32]]
) -> Generator[Chunk, None, None]:
    """Yield the audio of each range, in order, while at most `IN_FLIGHT` are asked for in threads.

    Once it is closed nothing more is asked; what is under way is left to end.
    """
    waiting: deque[tuple[int, Future[npt.NDArray[np.float32]]]] = deque()
    pool = ThreadPoolExecutor(IN_FLIGHT, "sifigan-stream")

    def ask(count: int) -> None:
        while len(waiting) < count and (request := next(requests, None)) is not None:
            waiting.append((request[0], pool.submit(infer, request[1])))

    try:
        ask(1)
        while waiting:
            first, answer = waiting.popleft()
            waveform = answer.result()
            ask(IN_FLIGHT)
            yield Chunk(first, waveform)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


async def async_one_by_one(
    requests: Iterator[tuple[int, Tensors]],
    infer: Callable[[Tensors], Coroutine[Any, Any, npt.NDArray[np.float32]]],
) -> AsyncGenerator[Chunk, None]:
    """Yield the audio of each range, in order, while at most `IN_FLIGHT` are asked for in tasks.

    Once it is closed, these are cancelled.
    """
    waiting: deque[tuple[int, asyncio.Task[npt.NDArray[np.float32]]]] = deque()

    def ask(count: int) -> None:
        while len(waiting) < count and (request := next(requests, None)) is not None:
            waiting.append((request[0], asyncio.create_task(infer(request[1]))))

    try:
        ask(1)
        while waiting:
            first, answer = waiting[0]
            waveform = await answer
            waiting.popleft()
            ask(IN_FLIGHT)
            yield Chunk(first, waveform)
    finally:
        for _, answer in waiting:
            answer.cancel()
        await asyncio.gather(*(answer for _, answer in waiting), return_exceptions=True)

"""Features that arrive while they are being predicted: each frame's audio as soon as no later frame can change it.

What is certain follows from what has arrived. F0 is interpolated over unvoiced gaps, so it is certain up to the last
voiced frame. The F0 tells where the network's taps lie, and so how far ahead of a frame it looks (`Reach`). All state
is here: the server gets ranges, as those of `stream`.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from preprocess.excitation import CYCLE, frame_phases
from preprocess.f0 import continuous_f0, lowest_f0, tap_offsets
from preprocess.names import PHASE, RANGE, VOICED_AROUND
from preprocess.ranges import UNKNOWN
from preprocess.reach import Reach
from preprocess.voice import Voice, VoiceError
from sifigan_triton.client.errors import FeaturesError, SynthesisError
from sifigan_triton.client.features import request_tensors
from sifigan_triton.client.stream import Chunk, Served, Tensors

FEATURES = ("f0", "mcep", "bap")


@dataclass(frozen=True)
class Asked:
    """A range that may be asked for."""

    first: int
    end: int
    tensors: Tensors
    next_phase: int
    """The sine's phase at `end`, in ticks."""


class Arriving:
    """The features that later ranges need, and which range may be asked for next. Nothing is sent here."""

    def __init__(self, f0_factor: float, seed: int, max_lookahead_frames: int | None) -> None:
        """Begin an utterance.

        Raises:
            ValueError: if `max_lookahead_frames` is no number of frames.

        """
        ahead = max_lookahead_frames
        if ahead is not None and not (isinstance(ahead, int) and ahead >= 0):
            raise ValueError(f"max_lookahead_frames is {ahead!r}, expected frames from 0, or None")
        self._options: Tensors = {"f0_factor": np.array([f0_factor], np.float32), "seed": np.array([seed], np.int64)}
        self._lookahead = ahead
        self._parts: list[Tensors] = []  # joined only when a range may begin: a long gap comes in many
        self._start = 0  # place of the first kept frame
        self._before = (-1.0, 0.0)  # frame and F0 of the last voiced frame that is not kept
        self._phase = 0
        self._certain = 0  # F0 is, up to here
        self._looked_at: tuple[int, int, bool] | None = None
        self._voice: Voice | None = None
        self.arrived = 0
        """Frames that were pushed."""
        self.first = 0
        """Frames whose audio was made."""
        self.finished = False
        """Whether all frames have arrived."""

    def take(self, f0: npt.ArrayLike, mcep: npt.ArrayLike, bap: npt.ArrayLike) -> None:
        """Add the next frames.

        Raises:
            FeaturesError: if a shape or data type cannot be right, there is no frame, or the utterance has ended.

        """
        if self.finished:
            raise FeaturesError(f"the stream was finished after {self.arrived} frames, expected no push: open another")
        tensors = request_tensors(f0, mcep, bap, 1.0, 0, False)
        given = {name: tensors[name].copy() for name in FEATURES}  # a caller may use its buffers again
        if not given["f0"].size:
            raise FeaturesError("f0 has 0 frames, expected at least 1")
        for name in ("mcep", "bap"):
            if self._parts and given[name].shape[1] != self._parts[0][name].shape[1]:
                raise FeaturesError(
                    f"{name} has {given[name].shape[1]} columns, expected {self._parts[0][name].shape[1]} as in the "
                    "frames pushed before"
                )
        self._parts.append(given)
        voiced = np.flatnonzero(_voiced(given["f0"]))
        if voiced.size:
            self._certain = self.arrived + int(voiced[-1]) + 1
        self.arrived += given["f0"].size

    def next(self, served: Served, model: str) -> Asked | None:
        """Return the range that may be asked for now, or None until more arrives.

        Raises:
            SynthesisError: if the server does not tell what its network looks like.

        """
        state = (self.first, self.arrived if self._lookahead is not None else self._certain, self.finished)
        if state == self._looked_at or not self._parts:
            return None
        self._voice = self._voice or served_voice(served, model)
        self._join()
        if self.finished:
            asked = self._ask(served, self._voice, self.arrived, self.arrived, self.arrived)
        else:
            asked = self._ask(served, self._voice, self._certain, None, self._certain)
            if asked is None and self._lookahead is not None:  # as if the utterance ended here
                top = self.arrived - self._lookahead
                asked = self._ask(served, self._voice, self.arrived, self.arrived, top)
        if asked is None:
            self._looked_at = state
        return asked

    def made(self, asked: Asked, halo: int) -> None:
        """Go on behind a range, and forget what no later one needs."""
        self.first, self._phase = asked.end, asked.next_phase
        dropped = max(self.first - halo, 0) - self._start
        if dropped <= 0:
            return
        kept = self._parts[0]
        voiced = np.flatnonzero(_voiced(kept["f0"][:dropped]))
        if voiced.size:
            self._before = float(self._start + voiced[-1]), float(kept["f0"][voiced[-1]])
        self._parts[0] = {name: values[dropped:] for name, values in kept.items()}
        self._start += dropped

    def _join(self) -> None:
        if len(self._parts) > 1:
            self._parts = [{name: np.concatenate([part[name] for part in self._parts]) for name in FEATURES}]

    def _ask(self, served: Served, voice: Voice, known: int, frames: int | None, top: int) -> Asked | None:
        """Return the longest range from `first` on that depends on known frames only.

        Args:
            served: what is served.
            voice: its network.
            known: F0 and features are, up to here.
            frames: of the utterance; None: its end is not known.
            top: where the range ends at most.

        """
        first, start = self.first, self._start
        top = min(top, first + served.windows[-1])
        if top <= first:
            return None
        f0 = _voiced(self._parts[0]["f0"][: known - start])
        before = [each for each in (self._before,) if each[0] >= 0.0]
        anchors = np.array([each[0] - start for each in before]), np.array([each[1] for each in before])
        with np.errstate(all="ignore"):  # what is absurd is the server's to refuse
            cf0 = continuous_f0(f0, anchors) * float(self._options["f0_factor"][0])
            phases = frame_phases(cf0, served.sample_rate, served.hop_size)
            promised = np.where(cf0 > 0.0, np.maximum(cf0, lowest_f0(served.f0_floor)), 0.0)
            reach = Reach(tap_offsets(promised, voice), start, frames, voice)
        end = first + bisect_right(range(first + 1, top + 1), known, key=lambda at: reach.frames_needed(first, at)[1])
        if end == first:
            return None
        low, high = reach.frames_needed(first, end)
        phase = self._phase + int(phases[end - start]) - int(phases[first - start])
        return Asked(first, end, self._request((first, end), (max(low, start), high), frames, f0), phase % CYCLE)

    def _request(
        self, wanted: tuple[int, int], sent: tuple[int, int], frames: int | None, f0: npt.NDArray[np.float32]
    ) -> Tensors:
        low, high = sent[0] - self._start, sent[1] - self._start
        voiced = np.flatnonzero(f0)
        before, behind = voiced[voiced < low][-1:], voiced[voiced >= high][:1]
        around = [
            *((self._start + before[0], f0[before[0]]) if before.size else self._before),
            *((self._start + behind[0], f0[behind[0]]) if behind.size else (-1, 0)),
        ]
        return {
            **{name: self._parts[0][name][low:high] for name in FEATURES},
            **self._options,
            RANGE: np.array([sent[0], *wanted, UNKNOWN if frames is None else frames], np.int64),
            PHASE: np.array([self._phase / CYCLE], np.float64),
            VOICED_AROUND: np.array(around, np.float64),
        }


class FeatureStream:
    """An utterance whose features arrive in pieces; one thread at a time may use it.

    An error leaves it where it was: what is asked for next is the piece that failed.
    """

    def __init__(
        self,
        arriving: Arriving,
        model: str,
        look: Callable[[], Served],
        infer: Callable[[Tensors], npt.NDArray[np.float32]],
    ) -> None:
        """Take what asks the server. `SifiganClient.open_stream` makes it."""
        self._arriving, self._model, self._look, self._infer = arriving, model, look, infer

    def push(self, f0: npt.ArrayLike, mcep: npt.ArrayLike, bap: npt.ArrayLike) -> Iterator[Chunk]:
        """Add the next frames, any number, and return an iterator over the audio that is certain by now.

        The frames are taken at once. What is not taken from the iterator comes from that of the next call.

        Args:
            f0: (n,) in Hz, 0 where unvoiced.
            mcep: (n, coefficients).
            bap: (n, bands).

        Raises:
            FeaturesError: if a shape or data type cannot be right, there is no frame, or the stream was finished.
            SynthesisError: from the iterator, as the other errors of `synthesize`.

        """
        self._arriving.take(f0, mcep, bap)
        return self._made()

    def finish(self) -> Iterator[Chunk]:
        """Say that the last frame has arrived, and return an iterator over the rest of the audio."""
        self._arriving.finished = True
        return self._made()

    def _made(self) -> Iterator[Chunk]:
        served = self._look()
        while (asked := self._arriving.next(served, self._model)) is not None:
            waveform = self._infer(asked.tensors)
            self._arriving.made(asked, served.halo)
            yield Chunk(asked.first, waveform)


class AsyncFeatureStream:
    """`FeatureStream` for asyncio; one task at a time may use it."""

    def __init__(
        self,
        arriving: Arriving,
        model: str,
        look: Callable[[], Awaitable[Served]],
        infer: Callable[[Tensors], Awaitable[npt.NDArray[np.float32]]],
    ) -> None:
        """Take what asks the server. `AsyncSifiganClient.open_stream` makes it."""
        self._arriving, self._model, self._look, self._infer = arriving, model, look, infer

    def push(self, f0: npt.ArrayLike, mcep: npt.ArrayLike, bap: npt.ArrayLike) -> AsyncIterator[Chunk]:
        """Add the next frames and return an iterator over the audio that is certain, as `FeatureStream.push` does."""
        self._arriving.take(f0, mcep, bap)
        return self._made()

    def finish(self) -> AsyncIterator[Chunk]:
        """Say that the last frame has arrived, and return an iterator over the rest of the audio."""
        self._arriving.finished = True
        return self._made()

    async def _made(self) -> AsyncIterator[Chunk]:
        served = await self._look()
        while (asked := self._arriving.next(served, self._model)) is not None:
            waveform = await self._infer(asked.tensors)
            self._arriving.made(asked, served.halo)
            yield Chunk(asked.first, waveform)


def served_voice(served: Served, model: str) -> Voice:
    """Return a voice of the served network; the statistics of its features, which stay with the server, are made up.

    Raises:
        SynthesisError: if the server does not tell.

    """
    try:
        network = json.loads(served.network)
        width = int(network["generator"]["in_channels"]) - 1
        unknown = {"mcep": {"mean": [0.0] * width, "scale": [1.0] * width}, "bap": {"mean": [0.0], "scale": [1.0]}}
        voice = Voice.from_json(json.dumps({"name": model, **unknown, **network}))
        if (voice.hop_size, voice.sample_rate) != (served.hop_size, served.sample_rate) or not served.f0_floor > 0.0:
            raise ValueError(f"f0_floor {served.f0_floor}, hop_size {served.hop_size}")
    except (LookupError, TypeError, ValueError, RecursionError, OverflowError, VoiceError) as error:
        raise SynthesisError(
            f"{model} does not tell how far its network looks ({error!r} in its configuration): build its repository "
            "anew, with this release"
        ) from None
    return voice


def _voiced(f0: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return F0 with what is none as unvoiced: it is the server's to refuse."""
    return np.where((f0 > 0.0) & np.isfinite(f0), f0, np.float32(0.0))

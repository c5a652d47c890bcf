"""Ranges: a request for the audio of some frames of an utterance, which brings these frames and those around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .excitation import CYCLE
from .reach import Span
from .settings import Settings
from .validate import RequestError

LONGEST = 2**32
"""Frames of the longest utterance, 248 days of 5 ms each: no sum of positions, at any rate, leaves int64."""
UNKNOWN = -1
"""Frames of an utterance whose end is not known yet."""


@dataclass(frozen=True)
class Range:
    """Which frames were sent, which are wanted, and what is known of those that were not sent."""

    start: int
    """Place of the first sent frame in the utterance."""
    stop: int
    """Behind the last one."""
    first: int
    end: int
    """The answer is the audio of the frames [first, end)."""
    frames: int | None
    """Of the utterance; None: its end is not known."""
    phase: int | None = None
    """The sine's phase at the beginning of the frame `first`, in ticks; None: it begins with the utterance, at 0."""
    voiced: tuple[tuple[float, float], tuple[float, float]] | None = None
    """(frame, F0 in Hz) of the last voiced frame before the sent ones and of the first one behind; frame -1: none."""

    @classmethod
    def whole(cls, frames: int) -> Range:
        """Return the range that is the whole utterance."""
        return cls(0, frames, 0, frames, frames)

    @property
    def wanted(self) -> int:
        """Frames of the answer."""
        return self.end - self.first

    def anchors(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return places, counted from the first sent frame, and F0 of the voiced frames before and behind."""
        known = [each for each in self.voiced or () if each[0] >= 0]
        frames, f0 = ([each[column] for each in known] for column in (0, 1))
        return np.array(frames, np.float64) - self.start, np.array(f0, np.float64)

    def check_gaps(self, f0: npt.NDArray[np.float32]) -> None:
        """Check that F0 is known around the unvoiced gaps that the sent frames, f0 float32 (n,), cut.

        Raises:
            RequestError: saying what is missing.

        """
        if self.voiced is not None:
            return
        cut = [f"before frame {self.start}"] * int(self.start > 0 and f0[0] == 0.0)
        cut += [f"behind frame {self.stop - 1}"] * int(self.stop != self.frames and f0[-1] == 0.0)
        if cut:
            raise RequestError(
                f"voiced_around missing: the sent frames cut an unvoiced gap that goes on {' and '.join(cut)}, and F0 "
                "is interpolated over gaps: send frame and F0 of the last voiced frame before them and the first one "
                "behind them, -1 and 0 where there is none"
            )

    def check_reach(self, needed: Span, halo: int) -> None:
        """Check that the frames which the answer depends on were sent.

        Args:
            needed: these frames, [first, end) in the utterance.
            halo: frames that are always enough, at each side.

        Raises:
            RequestError: naming the frames that are missing.

        """
        missing = [(needed[0], self.start), (self.stop, needed[1])]
        names = [f"{begin} to {end - 1}" for begin, end in missing if begin < end]
        if names:
            enough = f"; {halo} frames at each side are always enough" if halo else ""
            raise RequestError(
                f"the audio of the frames {self.first} to {self.end - 1} depends on the frames {needed[0]} to "
                f"{needed[1] - 1} at this F0, and f0, mcep and bap hold {self.start} to {self.stop - 1}: the frames "
                f"{' and '.join(names)} are missing, send them too{enough} (less at the ends of the utterance)",
                "length",
            )


def check_range(
    span: npt.NDArray[np.int64] | None,
    phase: npt.NDArray[np.float64] | None,
    voiced_around: npt.NDArray[np.float64] | None,
    sent: int,
    settings: Settings,
) -> Range:
    """Return which range a request asks for: the whole utterance if it names none.

    Args:
        span: int64 (4,), the input `range`: place of the first sent frame in the utterance; first frame of the answer,
            and the one behind its last; frames of the utterance, or -1.
        phase: float64 (1,), cycles.
        voiced_around: float64 (4,): frame and F0 before, frame and F0 behind.
        sent: frames that the request has.
        settings: constants of the voice and the engine.

    Raises:
        RequestError: naming what does not fit.

    """
    if span is None:
        for name, values in (("phase", phase), ("voiced_around", voiced_around)):
            if values is not None:
                raise RequestError(f"{name} without range, expected both: it says something of the range's frames")
        return Range.whole(sent)
    start, first, end, frames = (int(value) for value in _numbers("range", span, 4, np.int64))
    stop, shown = start + sent, f"range is [{start}, {first}, {end}, {frames}]"
    if not 0 <= start <= first < end <= stop <= LONGEST:
        raise RequestError(
            f"{shown} with {sent} frames sent, expected 0 <= start <= first < end <= start + {sent}, at most "
            f"{LONGEST}: start is the place in the utterance of the first frame that was sent, [first, end) is what is "
            "wanted"
        )
    if frames != UNKNOWN and not stop <= frames <= LONGEST:
        raise RequestError(
            f"{shown}: the utterance has {frames} frames, expected at least the {stop} up to the last sent one and at "
            f"most {LONGEST}, or {UNKNOWN} where its end is not known"
        )
    known = None if frames == UNKNOWN else frames
    around = None if voiced_around is None else _check_voiced(voiced_around, start, stop, known, settings)
    return Range(start, stop, first, end, known, _check_phase(phase, start), around)


def _check_phase(phase: npt.NDArray[np.float64] | None, start: int) -> int | None:
    if phase is None:
        if start:
            raise RequestError(
                f"phase missing, expected one as the sent frames begin at {start}: send what the answer to the range "
                "before gave as next_phase, or all frames from 0 on"
            )
        return None
    (value,) = _numbers("phase", phase, 1, np.float64)
    if not 0.0 <= value < 1.0:
        raise RequestError(f"phase is {value:g}, expected cycles from 0 to below 1, such as next_phase")
    return int(value * CYCLE)


def _check_voiced(
    around: npt.NDArray[np.float64], start: int, stop: int, frames: int | None, settings: Settings
) -> tuple[tuple[float, float], tuple[float, float]]:
    before, f0_before, behind, f0_behind = _numbers("voiced_around", around, 4, np.float64)
    last = LONGEST if frames is None else frames
    for frame, f0, low, high in ((before, f0_before, 0, start), (behind, f0_behind, stop, last)):
        if frame == -1.0 and f0 == 0.0:
            continue
        if not (low <= frame < high and frame == int(frame) and 0.0 < f0 < settings.voice.sample_rate / 2):
            raise RequestError(
                f"voiced_around is [{before:g}, {f0_before:g}, {behind:g}, {f0_behind:g}], expected frame and F0 in Hz "
                f"of a voiced frame before {start}, and of one from {stop} to {last - 1}: whole numbers, F0 above "
                "0 and below half the sample rate, or -1 and 0 where there is none"
            )
    return (before, f0_before), (behind, f0_behind)


def _numbers(name: str, values: npt.NDArray[Any], count: int, dtype: npt.DTypeLike) -> list[Any]:
    if values.shape != (count,):
        raise RequestError(f"{name} has shape {list(values.shape)}, expected [{count}]", "shape")
    if values.dtype != dtype:
        raise RequestError(f"{name} has type {values.dtype}, expected {np.dtype(dtype)}", "shape")
    found: list[Any] = values.tolist()
    return found

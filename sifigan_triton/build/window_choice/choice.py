"""Lengths and measured times -> what each window costs, and the window to build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from preprocess.voice import Voice
from sifigan_triton.build.window_choice.engine_times import EngineTimes
from sifigan_triton.network.crop_plan import crop_plan
from sifigan_triton.network.stage_costs import stage_costs

SMALLEST, LARGEST = 64, 1024
"""Frames of the windows that are chosen from: below, halos cost as much as the window; above, nothing is gained."""
TOLERANCE = 0.01
"""Windows that cost this share more than the cheapest one count as equal to it: measurements tell no finer."""


@dataclass(frozen=True)
class Use:
    """How the engine will be used."""

    voice: Voice
    lengths: npt.NDArray[np.int64]
    """Frames of the requests, int64 (R,), each as likely as any other."""
    max_batch: int
    """Windows that the engine takes in one call."""
    concurrency: int = 1
    """Requests that wait at the same time."""
    joins_requests: bool = False
    """Whether the windows of waiting requests share a call, as with TensorRT."""

    def candidates(self) -> range:
        """Return the windows that take the longest request, none larger than it.

        Raises:
            ValueError: if there is none, with the fix.

        """
        longest = int(self.lengths.max())
        least = max(SMALLEST, -(-longest // self.max_batch))
        if least > LARGEST:
            raise ValueError(
                f"the longest request has {longest} frames, expected at most {LARGEST * self.max_batch} "
                f"({self.max_batch} windows of {LARGEST}): build with --max-batch {-(-longest // LARGEST)}, or leave "
                "it out of --lengths"
            )
        return range(least, max(least, min(LARGEST, longest)) + 1)


@dataclass(frozen=True)
class Candidate:
    """A window and a floor, and what they cost."""

    window: int
    """Frames that a window yields."""
    f0_floor: float
    """Lowest F0 in Hz that the engine takes."""
    cost_ms: float
    """Milliseconds of the engine for a second of audio."""
    padding: float
    """Share of the computed frames that nobody asked for."""
    halo: float
    """Share of a window's arithmetic that a window without halos would not need."""
    longest_s: float
    """Seconds of the longest utterance."""
    first_ms: float
    """Milliseconds until one window is there."""
    answer_ms: float
    """Mean milliseconds until a request is answered, at the concurrency of the use."""
    source: Literal["measured", "interpolated", "by arithmetic"]
    """Where the time of a window comes from."""


def rate(use: Use, times: EngineTimes, window: int, f0_floor: float) -> Candidate:
    """Work out what a window and a floor cost."""
    voice, costs = use.voice, stage_costs(use.voice, crop_plan(use.voice, window, f0_floor))
    macs, bare = sum(cost.macs for cost in costs), sum(cost.bare_macs for cost in costs)
    counts = -(-use.lengths // window)
    if use.joins_requests:
        waits = times.call_seconds(macs, counts * use.concurrency, use.max_batch)
        spent = waits / use.concurrency
    else:
        spent = times.call_seconds(macs, counts, use.max_batch)
        waits = spent * use.concurrency
    frame_s = voice.frame_period_ms / 1e3
    same_floor = f0_floor == times.f0_floor
    return Candidate(
        window,
        f0_floor,
        cost_ms=1e3 * float(spent.sum()) / (float(use.lengths.sum()) * frame_s),
        padding=1.0 - float(use.lengths.sum()) / float(counts.sum() * window),
        halo=1.0 - bare / macs,
        longest_s=window * use.max_batch * frame_s,
        first_ms=1e3 * float(times.call_seconds(macs, np.array([1]), use.max_batch)[0]),
        answer_ms=1e3 * float(waits.mean()),
        source=("measured" if window in times.windows else "interpolated") if same_floor else "by arithmetic",
    )


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """Return the smallest window among those that cost no more than the cheapest one, but for the tolerance."""
    limit = min(candidate.cost_ms for candidate in candidates) * (1.0 + TOLERANCE)
    return min((each for each in candidates if each.cost_ms <= limit), key=lambda each: each.window)


def windows_to_measure(candidates: range) -> list[int]:
    """Return the smallest and the largest candidate and the powers of two between them."""
    powers = [2**exponent for exponent in range(candidates[-1].bit_length())]
    return sorted({candidates[0], *(power for power in powers if power in candidates), candidates[-1]})

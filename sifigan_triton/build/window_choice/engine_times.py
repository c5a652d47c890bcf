"""What a call of an engine takes, learnt from a few windows and batches, for any window, F0 floor and batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EngineTimes:
    """Measured times of one kind of engine.

    The time of a window follows its arithmetic, linearly between the windows that were measured and in proportion
    beyond them: the same curve serves other windows, whose arithmetic is linear in their frames, and other floors.
    """

    f0_floor: float
    """Floor in Hz of the engines that were measured."""
    windows: tuple[int, ...]
    """Frames of the windows that were measured, ascending."""
    macs: Array
    """float64 (windows,): multiply-adds of one window of each."""
    batches: tuple[int, ...]
    """Windows in a call, ascending from 1."""
    seconds: Array
    """float64 (windows, batches): what a call took."""

    def call_seconds(self, macs: float, counts: npt.NDArray[np.int64], max_batch: int) -> Array:
        """Return what the windows of a request take.

        Args:
            macs: multiply-adds of one window.
            counts: int64 (R,), windows of each request; more than `max_batch` take several calls.
            max_batch: windows that the engine takes in one call.

        Returns:
            float64 (R,) seconds.

        """
        of_batch = np.array([_follow(np.array([macs]), self.macs, column)[0] for column in self.seconds.T])
        batches = np.array(self.batches, np.float64)
        full, rest = np.divmod(counts, max_batch)
        sizes = np.array([max_batch, *rest], np.float64)
        times = _follow(sizes, batches, of_batch)
        return np.asarray(full * times[0] + times[1:])


def _follow(x: Array, known_x: Array, known_y: Array) -> Array:
    """Interpolate linearly between known points, and in proportion to x below the first and above the last of them."""
    inside = np.clip(x, known_x[0], known_x[-1])
    return np.asarray(np.interp(inside, known_x, known_y) * x / inside)

"""An engine that computes no more of a window than anybody wants: with static engines of a few sizes behind it.

Imports nothing of this project: staged beside `model.py`, with the `runtime.py` that it uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

BOUNDS, EXCITATION, FEATURES = "bounds", "excitation", "features"
"""Inputs: where the utterance lies, with one value a sample, and with one a frame."""
SMALLEST = 16
"""Frames of the smallest window: next to nothing is gained below it."""
HALO_COST = 0.2
"""What a frame of both halos costs, in frames of the window: 0.19 to 0.24 by multiply-adds, whatever the voice and the
lowest F0, as the first and cheapest stages see most of it."""

Windows = Mapping[str, npt.NDArray[Any]]
Waveform = npt.NDArray[np.float32]


def window_sizes(window: int) -> tuple[int, ...]:
    """Return the frames of the windows that engines are built for, the largest first."""
    return (window, *(size for size in (window // 2, window // 4, window // 8) if size >= SMALLEST))


@dataclass(frozen=True)
class Part:
    """Frames of one window that one engine yields in one call."""

    window: int
    """Which window of the batch."""
    first: int
    """First frame, counted from the first one that the window yields."""
    frames: int
    cost: float
    """In frames of an endless window."""


@dataclass(frozen=True, eq=False)
class Work:
    """The windows of a request, and the waveform that comes of them, part by part."""

    windows: Windows
    waveform: Waveform
    """(n, 1, samples); what no part yields stays silent."""
    parts: tuple[Part, ...]
    padding: int = 0
    """Frames that the parts yield beyond those that are wanted."""


class SizedEngine:
    """The engines of a version folder: the largest window's in the folder itself, the others' in `<frames>/`."""

    def __init__(
        self, runtime: type[Any], folder: Path, precision: str, inputs: Mapping[str, list[int]], samples: int
    ) -> None:
        """Load the engines.

        Args:
            runtime: class `Engine` of a runtime.
            folder: version folder.
            precision: the engines' precision.
            inputs: dimensions of the inputs without the batch axis, those of the largest window; -1: any size.
            samples: what the largest window yields; -1: all of an utterance of any length.

        """
        self.batch = int(runtime.batch)
        seen = inputs[FEATURES][-1]
        self._window = self._halo = 0
        if seen < 0:
            self._engines = {0: runtime(folder, precision, inputs)}
            return
        self._rates = {name: dims[-1] // seen for name, dims in inputs.items() if name != BOUNDS}
        self._window = samples // self._rates[EXCITATION]
        self._halo = (seen - self._window) // 2
        sizes = window_sizes(self._window) if runtime.sized else (self._window,)
        self._engines = {
            size: runtime(folder if size == self._window else folder / str(size), precision, self._inputs(inputs, size))
            for size in sizes
        }

    @property
    def sizes(self) -> tuple[int, ...]:
        """Frames that the windows of its parts may have; 0: an utterance of any length."""
        return tuple(self._engines)

    def work(self, windows: Windows, wanted: npt.NDArray[np.int64] | None = None) -> Work:
        """Divide the windows of a request into parts.

        Args:
            windows: the engine's inputs by name, for n windows.
            wanted: int64 (n,), how many of its first frames are wanted of each; None: all up to the utterance's end.

        """
        count, _, samples = windows[EXCITATION].shape
        if not self._window:
            frames = float(windows[FEATURES].shape[-1])
            parts = tuple(Part(window, 0, 0, frames) for window in range(count))
            return Work(windows, np.zeros((count, 1, samples), np.float32), parts)
        found, padding = [], 0
        # A stranger's bounds may be at the ends of int32; no further than `preprocess` sends them, no sum overflows.
        seen = self._window + 2 * self._halo
        windows = {**windows, BOUNDS: windows[BOUNDS].clip(-seen, 2 * seen)}
        ends = windows[BOUNDS][:, 1] - self._halo if wanted is None else wanted
        for window, end in enumerate(ends.clip(0, self._window).tolist()):
            first = 0
            for frames in self._cover(end):
                found.append(Part(window, first, frames, cost(frames, self._halo)))
                first += frames
            padding += first - end
        waveform = np.zeros((count, 1, self._window * self._rates[EXCITATION]), np.float32)
        return Work(windows, waveform, tuple(found), padding)

    def compute(self, parts: Sequence[tuple[Work, Part]]) -> None:
        """Compute parts of equal size, at most `batch`, into the waveforms of their work."""
        frames = parts[0][1].frames
        cut = [self._cut(work.windows, part) for work, part in parts]
        inputs = {name: np.concatenate([one[name] for one in cut]) for name in cut[0]}
        for (work, part), samples in zip(parts, self._engines[frames].run(inputs), strict=True):
            start = part.first * self._rates[EXCITATION] if frames else 0
            work.waveform[part.window, :, start : start + samples.shape[-1]] = samples

    def run(self, windows: Windows) -> Waveform:
        """Compute all windows of a request, float32 (n, 1, samples)."""
        work = self.work(windows)
        for part in work.parts:
            self.compute([(work, part)])
        return work.waveform

    def _inputs(self, inputs: Mapping[str, list[int]], size: int) -> dict[str, list[int]]:
        """Return the dimensions of the inputs of a smaller window."""
        less = self._window - size
        return {
            name: [*dims[:-1], dims[-1] - less * self._rates[name]] if name != BOUNDS else dims
            for name, dims in inputs.items()
        }

    def _cover(self, wanted: int) -> tuple[int, ...]:
        sizes = tuple(self._engines)
        return cheapest_cover(wanted, sizes, self._halo) if len(sizes) > 1 else sizes

    def _cut(self, windows: Windows, part: Part) -> dict[str, npt.NDArray[Any]]:
        """Cut out what an engine sees for a part; the bounds are counted from its own first frame."""
        row = {name: values[part.window : part.window + 1] for name, values in windows.items()}
        if part.frames in (0, self._window):
            return row
        seen = part.frames + 2 * self._halo
        cut = {
            name: row[name][..., part.first * rate : (part.first + seen) * rate] for name, rate in self._rates.items()
        }
        return {**cut, BOUNDS: row[BOUNDS] - part.first}


def cost(frames: int, halo: int) -> float:
    """Return what a window costs that yields so many frames, in frames of an endless window."""
    return frames + HALO_COST * halo


@cache
def cheapest_cover(wanted: int, sizes: tuple[int, ...], halo: int) -> tuple[int, ...]:
    """Return the sizes of the windows that yield a window's first `wanted` frames with the least work, in order.

    Args:
        wanted: frames, at most those of the largest window.
        sizes: frames of the windows there are, the largest first.
        halo: frames that each of them sees at both sides beyond what it yields.

    """
    if wanted == 0:
        return ()
    # Never more frames than the largest window has: that one alone would cost less.
    covers = [(size, *cheapest_cover(max(wanted - size, 0), sizes, halo)) for size in sizes]
    return min(covers, key=lambda cover: (sum(cost(frames, halo) for frames in cover), len(cover)))

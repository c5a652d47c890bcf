"""Frames that hold NaN or Inf: refused by their numbers, or replaced by the nearest finite frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .validate import RequestError

LONGEST_LIST = 8
"""Runs of frames that a message names before it only counts the rest."""

Frames = npt.NDArray[np.intp]
Tensors = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Repair:
    """What was replaced in one request."""

    frames: dict[str, Frames]
    """Frames replaced in each tensor; tensors that were finite are left out."""
    length: int
    """Frames of the utterance."""

    @property
    def count(self) -> int:
        """Frames of which at least one tensor was replaced."""
        return int(np.unique(np.concatenate([*self.frames.values()])).size) if self.frames else 0

    def __str__(self) -> str:
        """Return, for a log, what was replaced."""
        where = "; ".join(f"{name} at {name_frames(frames)}" for name, frames in self.frames.items())
        return f"replaced {self.count} of {self.length} frames by the nearest finite ones: {where}"


Report = Callable[[Repair], None]


def bad_frames(values: npt.NDArray[np.float32]) -> Frames:
    """Return the frames, in rising order, at which `values` (T,) or (T, C) hold NaN or Inf."""
    finite = np.isfinite(values)
    if finite.all():  # as nearly always: a third of the time
        return np.empty(0, np.intp)
    return np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))


def name_frames(frames: Frames) -> str:
    """Name frames, which rise, as compactly as they allow: "frame 7", "frames 7, 12-15, 40"."""
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    names = [str(run[0]) if run.size == 1 else f"{run[0]}-{run[-1]}" for run in runs[:LONGEST_LIST]]
    more = sum(run.size for run in runs[LONGEST_LIST:])
    rest = f" and {more} more" if more else ""
    return f"frame{'s' if frames.size > 1 else ''} {', '.join(names)}{rest}"


def finite(tensors: Tensors, mend: bool, report: Report | None = None, start: int = 0) -> Tensors:
    """Return tensors that hold neither NaN nor Inf: the given ones, or what `repair` makes of them.

    Args:
        tensors: float32 (T,) or (T, C) by name, all of one length.
        mend: whether to repair; otherwise a tensor that is not finite is refused.
        report: called with what was replaced.
        start: number of the first frame, for message and report.

    Raises:
        RequestError: naming the first bad value and all frames of its tensor that hold one.

    """
    if mend:
        return repair(tensors, report, start)
    for name, values in tensors.items():
        _check_finite(name, values, start)
    return tensors


def repair(tensors: Tensors, report: Report | None = None, start: int = 0) -> Tensors:
    """Replace the frames of each tensor that hold NaN or Inf by the nearest finite frame of the same tensor.

    A frame is replaced as a whole, so that no spectrum is mixed from two frames; of two frames equally near, the
    earlier one is taken. Tensors do not affect each other: NaN in the band aperiodicity leaves the mel-cepstrum alone.

    Args:
        tensors: float32 (T,) or (T, C) by name, all of one length.
        report: called with what was replaced; not called when everything was finite.
        start: number of the first frame, for the report.

    Returns:
        The tensors by name; those that were finite are the same objects.

    Raises:
        RequestError: if a tensor has no finite frame.

    """
    repaired, frames = dict(tensors), {}
    for name, values in tensors.items():
        bad = bad_frames(values)
        if bad.size:
            repaired[name], frames[name] = _replace(name, values, bad), bad + start
    if frames and report is not None:
        report(Repair(frames, len(next(iter(tensors.values())))))
    return repaired


def _check_finite(name: str, values: npt.NDArray[np.float32], start: int) -> None:
    bad = bad_frames(values)
    if bad.size == 0:
        return
    first = (int(bad[0]), *(int(column) for column in np.argwhere(~np.isfinite(values[bad[0]]))[0]))
    where = f"frame {start + first[0]}" + (f", coefficient {first[1]}" if values.ndim > 1 else "")
    which = "" if bad.size == 1 else f": {name_frames(bad + start)}"
    raise RequestError(
        f"{name} is {values[first]} at {where}, expected finite values ({bad.size} of {len(values)} frames hold NaN or "
        f"Inf{which}): mend the analysis of these frames or set the input repair to true",
        "not_finite",
    )


def _replace(name: str, values: npt.NDArray[np.float32], bad: Frames) -> npt.NDArray[np.float32]:
    """Return a copy of `values` with the frames `bad` replaced."""
    finite = np.setdiff1d(np.arange(len(values)), bad, assume_unique=True)
    if finite.size == 0:
        raise RequestError(
            f"{name} holds NaN or Inf in every one of its {len(values)} frames, expected at least one finite frame to "
            "repair the others from: mend the analysis",
            "not_finite",
        )
    after = np.searchsorted(finite, bad)
    left, right = finite[np.maximum(after - 1, 0)], finite[np.minimum(after, finite.size - 1)]
    copy = values.copy()
    copy[bad] = values[np.where(np.abs(bad - left) <= np.abs(right - bad), left, right)]
    return copy

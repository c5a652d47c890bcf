"""Split whole-utterance tensors into the engine's windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .ranges import Range
from .settings import Settings


@dataclass(frozen=True)
class Windows:
    """The engine's inputs for one utterance of n windows; field names are the tensors' names."""

    excitation: npt.NDArray[np.float32]
    """(n, 1, N * hop_size)."""
    features: npt.NDArray[np.float32]
    """(n, in_channels, N)."""
    offsets: npt.NDArray[np.int32]
    """(n, P, N)."""
    bounds: npt.NDArray[np.int32]
    """(n, 2): the utterance's first frame and the frame behind its last, counted from the window's first frame.

    An end further away than any tap reaches is given as -N or 2N.
    """


def split(
    excitation: npt.NDArray[np.float32],
    features: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int32],
    settings: Settings,
    span: Range | None = None,
) -> Windows:
    """Tile an utterance, or a range of it, with windows of stride `window`, each with `halo` frames at both sides.

    Frames that are not there hold zeros (offsets: 1): the engine masks those beyond the utterance, and on others no
    wanted sample depends. For a dynamic engine the frames themselves are the one window.

    Args:
        excitation: float32 (1, T * hop_size).
        features: float32 (in_channels, T).
        offsets: int32 (P, T).
        settings: constants of the voice and the engine.
        span: what is wanted of the utterance, and which frames these are; None: they are all, and wanted.

    """
    frames, hop = features.shape[1], settings.voice.hop_size
    span = span or Range.whole(frames)
    if settings.dynamic:
        return Windows(excitation[None], features[None], offsets[None], np.array([[0, frames]], np.int32))
    seen, starts = settings.input_frames, _starts(span, settings) - settings.halo
    last = span.stop + 2 * seen if span.frames is None else span.frames
    bounds = np.stack([-starts, last - starts], axis=1)
    # No tap reaches further than a window sees. Nearer bounds keep the indices small: OpenVINO's CPU plug-in computes
    # some INT32 operations in FP32, which is exact below 2^24 samples only.
    bounds = bounds.clip(-seen, 2 * seen)
    starts -= span.start
    return Windows(
        excitation=_tile(excitation, starts, seen, hop, 0),
        features=_tile(features, starts, seen, 1, 0),
        offsets=_tile(offsets, starts, seen, 1, 1),
        bounds=bounds.astype(np.int32),
    )


def wanted_frames(span: Range, settings: Settings) -> npt.NDArray[np.int64]:
    """Return how many frames of each window are wanted, the first ones of a static engine's: int64 (n, 1)."""
    if settings.dynamic:
        return np.array([[span.wanted]], np.int64)
    return np.minimum(span.end - _starts(span, settings), settings.window)[:, None]


def _starts(span: Range, settings: Settings) -> npt.NDArray[np.int64]:
    """Return the first frame that each window yields, int64 (n,), in the utterance's count."""
    return np.arange(span.first, span.end, settings.window)


def _tile(values: npt.NDArray, starts: npt.NDArray[np.int64], frames: int, rate: int, fill: int) -> npt.NDArray:  # type: ignore[type-arg]
    """Cut (C, T * rate) into overlapping windows, (n, C, frames * rate), each sample of which is written once."""
    channels, length = values.shape
    size = frames * rate
    windows = np.empty((starts.size, channels, size), values.dtype)
    for window, start in zip(windows, starts * rate, strict=True):
        left, right = max(-start, 0), min(length - start, size)  # what is there of the window
        window[:, :left] = fill
        window[:, left:right] = values[:, start + left : start + right]
        window[:, right:] = fill
    return windows

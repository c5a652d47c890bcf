"""Split whole-utterance tensors into the engine's windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
) -> Windows:
    """Tile an utterance with windows of stride `window`, each with `halo` frames at both sides.

    Frames beyond the utterance hold zeros (offsets: 1); the engine masks them, so that their values do not matter. For
    a dynamic engine the utterance itself is the one window.

    Args:
        excitation: float32 (1, T * hop_size).
        features: float32 (in_channels, T).
        offsets: int32 (P, T).
        settings: constants of the voice and the engine.

    """
    frames, hop = features.shape[1], settings.voice.hop_size
    if settings.dynamic:
        return Windows(excitation[None], features[None], offsets[None], np.array([[0, frames]], np.int32))
    count = -(-frames // settings.window)
    first = settings.halo - settings.window * np.arange(count)
    bounds = np.stack([first, first + frames], axis=1)
    # No tap reaches further than a window sees. Nearer bounds keep the indices small: OpenVINO's CPU plug-in computes
    # some INT32 operations in FP32, which is exact below 2^24 samples only.
    bounds = bounds.clip(-settings.input_frames, 2 * settings.input_frames)
    return Windows(
        excitation=_tile(excitation, count, settings, hop, 0),
        features=_tile(features, count, settings, 1, 0),
        offsets=_tile(offsets, count, settings, 1, 1),
        bounds=bounds.astype(np.int32),
    )


def _tile(values: npt.NDArray, count: int, settings: Settings, rate: int, fill: int) -> npt.NDArray:  # type: ignore[type-arg]
    """Cut (C, T * rate) into overlapping windows, (n, C, N * rate), each sample of which is written once."""
    channels, length = values.shape
    size = settings.input_frames * rate
    windows = np.empty((count, channels, size), values.dtype)
    for index, window in enumerate(windows):
        start = (index * settings.window - settings.halo) * rate
        left, right = max(-start, 0), min(length - start, size)  # the utterance's part of the window
        window[:, :left] = fill
        window[:, left:right] = values[:, start + left : start + right]
        window[:, right:] = fill
    return windows

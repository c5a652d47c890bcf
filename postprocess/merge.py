"""Windows -> waveform."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def merge(windows: npt.NDArray[np.float32], samples: int) -> npt.NDArray[np.float32]:
    """Join the engine's windows and cut what lies behind the utterance's end.

    The windows tile the utterance and each is exact up to its last sample, so that they are laid end to end; see
    `docs/how-it-works.md` for why there is no cross-fade.

    Args:
        windows: float32 (n, 1, window * hop_size), in order.
        samples: length of the utterance, T * hop_size.

    Returns:
        float32 (samples,), a view of `windows`.

    """
    return windows.reshape(-1)[:samples]


def to_pcm16(waveform: npt.NDArray[np.float32] | npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
    """Convert a waveform in [-1, 1] to 16-bit samples: times 32767, rounded to the nearest.

    Args:
        waveform: float32 or float64 (L,); the product is made in its precision.

    Returns:
        int16 (L,).

    """
    scaled = waveform * np.float32(32767.0)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32768.0, 32767.0, out=scaled)
    return scaled.astype(np.int16)

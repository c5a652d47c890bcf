"""Windows -> waveform."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class WindowsError(ValueError):
    """What has to be joined does not fit together; the message names tensor, expected, got and the fix."""


class SoundError(RuntimeError):
    """The engine made something that is no sound."""


def merge(windows: npt.NDArray[np.float32], samples: int, first_sample: int = 0) -> npt.NDArray[np.float32]:
    """Join the engine's windows and cut what lies behind the end of what is wanted.

    The windows tile the utterance, or a range of it, and each is exact up to its last sample, so that they are laid end
    to end; see `docs/how-it-works.md` for why there is no cross-fade.

    Args:
        windows: float32 (n, 1, window * hop_size), in order.
        samples: length of the utterance or the range, T * hop_size.
        first_sample: where it begins in the windows, for a range through an engine for any length.

    Returns:
        float32 (samples,), a view of `windows`.

    Raises:
        WindowsError: if the windows do not hold so many samples, or none are wanted.

    """
    if not 0 <= first_sample < max(windows.size, 1):
        raise WindowsError(
            f"first_sample is {first_sample}, expected 0 to {windows.size - 1}, as windows of shape "
            f"{list(windows.shape)} have it: send what preprocess made"
        )
    if not 1 <= samples <= windows.size - first_sample:
        raise WindowsError(
            f"samples is {samples}, expected 1 to {windows.size - first_sample}, which is what windows of shape "
            f"{list(windows.shape)} hold: send the two as preprocess and the engine made them"
        )
    return windows.reshape(-1)[first_sample : first_sample + samples]


def check_sound(waveform: npt.NDArray[np.float32], hop_size: int) -> None:
    """Check that the engine made numbers: NaN and Inf are errors of a network or a runtime, and never audio.

    Args:
        waveform: float32 (samples,).
        hop_size: samples a frame, for the message.

    Raises:
        SoundError: naming the first frame that holds NaN or Inf.

    """
    finite = np.isfinite(waveform)
    if finite.all():
        return
    bad = np.flatnonzero(~finite)
    raise SoundError(
        f"the engine's waveform is {waveform[bad[0]]} at frame {bad[0] // hop_size} (sample {bad[0]}), expected finite "
        f"samples ({bad.size} of {waveform.size} are NaN or Inf): mend the features around this frame, or use an FP32 "
        "engine if this one computes in less; if it stays, the voice's weights are to blame"
    )


def to_pcm16(waveform: npt.NDArray[np.float32] | npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
    """Convert a waveform in [-1, 1] to 16-bit samples: times 32767, rounded to the nearest.

    Args:
        waveform: float32 or float64 (L,); the product is made in its precision.

    Returns:
        int16 (L,).

    """
    with np.errstate(over="ignore"):  # what overflows is clipped like all that is too loud
        scaled = waveform * np.float32(32767.0)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32768.0, 32767.0, out=scaled)
    return scaled.astype(np.int16)

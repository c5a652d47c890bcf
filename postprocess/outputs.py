"""The outputs of `postprocess` by the names of their tensors."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from .merge import check_sound, merge, to_pcm16

WINDOWS, FIRST_SAMPLE, SAMPLES, DEADLINE = "windows", "first_sample", "samples", "deadline"
"""Inputs."""
WAVEFORM, WAVEFORM_ROW, PCM16 = "waveform", "waveform_row", "pcm16"


def make_outputs(
    windows: npt.NDArray[np.float32], samples: int, wanted: Collection[str], hop_size: int, first_sample: int = 0
) -> dict[str, npt.NDArray[Any]]:
    """Make the outputs that are asked for, and no other.

    Args:
        windows: float32 (n, 1, window * hop_size), in order.
        samples: length of the answer, T * hop_size.
        wanted: names of the outputs.
        hop_size: samples a frame, for messages.
        first_sample: where the answer begins in the windows.

    Returns:
        By name: `waveform` float32 (samples,), `waveform_row` the same as (1, samples), `pcm16` int16 (samples,).

    Raises:
        WindowsError: if the windows do not hold so many samples, or none are wanted.
        SoundError: naming the first frame that holds NaN or Inf.

    """
    waveform = merge(windows, samples, first_sample)
    check_sound(waveform, hop_size)
    made: dict[str, npt.NDArray[Any]] = {WAVEFORM: waveform, WAVEFORM_ROW: waveform[None]}  # views
    if PCM16 in wanted:
        made[PCM16] = to_pcm16(waveform)
    return {name: values for name, values in made.items() if name in wanted}

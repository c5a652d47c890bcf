"""Differences in level: loudness and peak."""

from __future__ import annotations

import warnings

import numpy as np
import pyloudnorm
from numpy.typing import NDArray

BLOCK_SECONDS = 0.4
"""Gating block of ITU-R BS.1770; nothing shorter has a loudness."""


def peak_difference_db(reference: NDArray[np.float64], test: NDArray[np.float64]) -> float:
    """Return how much the largest sample of `test` lies above that of `reference`: 20 log10(max |t| / max |r|).

    Args:
        reference: float64 (L,), not silent.
        test: float64 (M,).

    Returns:
        dB; minus infinity if `test` is silent.

    """
    with np.errstate(divide="ignore"):
        return float(20.0 * np.log10(np.abs(test).max() / np.abs(reference).max()))


def loudness_difference_lu(reference: NDArray[np.float64], test: NDArray[np.float64], sample_rate: int) -> float | None:
    """Return how much louder `test` is than `reference`, as integrated loudness of ITU-R BS.1770-4.

    K-weighted mean square over 400 ms blocks that overlap by 75 %, gated at -70 LUFS and at 10 LU below the mean.

    Args:
        reference: float64 (L,), full scale = 1.
        test: float64 (M,), full scale = 1.
        sample_rate: samples a second.

    Returns:
        LU; None if the reference has no loudness (shorter than one block, or nothing above the gate), minus infinity
        if only `test` has none.

    """
    if min(len(reference), len(test)) < BLOCK_SECONDS * sample_rate:
        return None
    meter = pyloudnorm.Meter(sample_rate)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", category=RuntimeWarning)  # means over no blocks: silence
        own, other = (float(meter.integrated_loudness(waveform)) for waveform in (reference, test))
    return other - own if np.isfinite(own) else None

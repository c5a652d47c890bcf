"""Signal-to-noise ratio."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def snr_db(reference: npt.NDArray[np.floating[Any]], test: npt.NDArray[np.floating[Any]]) -> float:
    """Return the signal-to-noise ratio of `test` against `reference`.

    10 log10(sum r^2 / sum (r - t)^2), over all samples, in FP64.

    Args:
        reference: (L,), floating point.
        test: (L,), floating point.

    Returns:
        dB; infinite if both are equal, NaN if either holds NaN.

    """
    signal = reference.astype(np.float64)
    noise = signal - test.astype(np.float64)
    with np.errstate(divide="ignore"):
        return float(10.0 * np.log10(np.sum(signal**2) / np.sum(noise**2)))

"""Mel-cepstrum of a power spectrum, and back, with the numbers of SPTK.

The mel-cepstrum is the cepstrum on a frequency axis warped by a first-order all-pass filter
z~^-1 = (z^-1 - alpha) / (1 - alpha z^-1): K. Tokuda, T. Kobayashi, T. Masuko, S. Imai, "Mel-generalized cepstral
analysis", ICSLP 1994; A. V. Oppenheim, D. H. Johnson, "Discrete representation of signals", Proc. IEEE 60(6), 1972.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter


def sp2mc(spectrum: NDArray[np.float64], order: int, alpha: float) -> NDArray[np.float64]:
    """Turn power spectra into mel-cepstra; the same numbers as `pysptk.sp2mc`.

    Args:
        spectrum: (T, F) power (magnitude squared) at F = fft_size / 2 + 1 frequencies, positive.
        order: order of the mel-cepstrum.
        alpha: all-pass constant, between -1 and 1.

    Returns:
        float64 (T, order + 1).

    Raises:
        ValueError: if the spectrum is not (T, F), or a value is not a positive finite number (with its frame).

    """
    if spectrum.ndim != 2 or spectrum.shape[1] < 2:
        raise ValueError(f"spectrum has shape {spectrum.shape}, expected (frames, fft_size / 2 + 1)")
    bad = np.flatnonzero(~(np.isfinite(spectrum) & (spectrum > 0.0)).all(axis=1))
    if len(bad):
        raise ValueError(f"spectrum at frame {bad[0]} has a value that is not a positive finite number")
    cepstrum = np.fft.irfft(np.log(spectrum), axis=1)  # (T, F) -> (T, fft_size)
    cepstrum[:, 0] /= 2.0
    return np.asarray(cepstrum @ frequency_transform(cepstrum.shape[1], order, alpha))


def mc2sp(mcep: NDArray[np.float64], alpha: float, fft_size: int) -> NDArray[np.float64]:
    """Turn mel-cepstra into power spectra; the same numbers as `pysptk.mc2sp`.

    Args:
        mcep: (T, order + 1) mel-cepstra.
        alpha: all-pass constant that they were made with, between -1 and 1.
        fft_size: even; twice the number of frequencies, less two.

    Returns:
        float64 (T, fft_size / 2 + 1), power (magnitude squared).

    Raises:
        ValueError: if the mel-cepstra are not (T, order + 1) or fft_size is odd.

    """
    if mcep.ndim != 2:
        raise ValueError(f"mcep has shape {mcep.shape}, expected (frames, order + 1)")
    if fft_size < 2 or fft_size % 2:
        raise ValueError(f"fft_size is {fft_size}, expected an even number")
    cepstrum = mcep @ frequency_transform(mcep.shape[1], fft_size // 2, -alpha)  # (T, fft_size / 2 + 1)
    cepstrum[:, 0] *= 2.0
    log_power = np.fft.hfft(cepstrum, n=fft_size, axis=1)  # spectrum of the even extension, all fft_size points
    return np.asarray(np.exp(log_power[:, : fft_size // 2 + 1]))


@lru_cache(maxsize=8)
def frequency_transform(length: int, order: int, alpha: float) -> NDArray[np.float64]:
    """Make the matrix that carries a cepstrum to the warped frequency axis (SPTK's `freqt`).

    Column m holds, for each n, the coefficient of z~^-m in z^-n = ((z~^-1 + alpha) / (1 + alpha z~^-1))^n. Read along
    n, column 0 is alpha^n, column 1 is n (1 - alpha^2) alpha^(n-1), and every further one is the column before it,
    passed through the all-pass filter.

    Args:
        length: number of cepstral coefficients that go in.
        order: order of the warped cepstrum that comes out.
        alpha: all-pass constant, between -1 and 1.

    Returns:
        float64 (length, order + 1), read-only: the result is cached.

    Raises:
        ValueError: if the order is negative or |alpha| is not below 1.

    """
    if order < 0:
        raise ValueError(f"order is {order}, expected 0 or more")
    if not abs(alpha) < 1.0:
        raise ValueError(f"alpha is {alpha}, expected a number between -1 and 1")
    n = np.arange(length)
    columns = np.zeros((order + 1, length))
    columns[0] = float(alpha) ** n
    if order:
        columns[1, 1:] = n[1:] * (1.0 - alpha**2) * float(alpha) ** (n[1:] - 1)
    for m in range(2, order + 1):
        columns[m] = lfilter([-alpha, 1.0], [1.0, -alpha], columns[m - 1])
    matrix = np.ascontiguousarray(columns.T)
    matrix.setflags(write=False)
    return matrix

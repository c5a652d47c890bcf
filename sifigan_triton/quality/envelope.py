"""Spectral envelopes and how far apart they are.

CheapTrick (M. Morise, "CheapTrick, a spectral envelope estimator for high-quality speech synthesis", Speech
Communication 67, 2015) needs the F0. Both envelopes of a pair are taken with the *same* F0 where the waveforms ought to
share it, so that a frame whose F0 the estimator reads differently counts as an error of F0, once, and not as one of the
spectrum as well.
"""

from __future__ import annotations

import numpy as np
import pyworld
from numpy.typing import NDArray

from sifigan_triton.features.melcepstrum import sp2mc

AUDIBLE_RANGE_DB = 80.0
"""What lies further below the strongest frequency of the reference's frame is not compared: nobody hears it, while a
band that a codec had emptied would outweigh all the rest of the spectrum."""

PCM16_POWER = 2.0**-30 / 12.0
"""Power of 16-bit rounding (1 / 32,768, squared, over 12), in CheapTrick's unit, where white noise of variance v has
power v: -101 dB. What is weaker is silence."""


def envelopes(
    waveform: NDArray[np.float64], f0: NDArray[np.float64], sample_rate: int, hop_size: int
) -> NDArray[np.float64]:
    """Return the spectral envelope around each frame.

    Args:
        waveform: float64 (L,), finite.
        f0: float64 (T,), Hz, 0 = unvoiced; frame t stands at sample t * hop_size.
        sample_rate: samples a second.
        hop_size: samples a frame.

    Returns:
        float64 (T, fft_size / 2 + 1), power.

    """
    times = np.arange(len(f0)) * (hop_size / sample_rate)
    signal, contour = (np.ascontiguousarray(values, dtype=np.float64) for values in (waveform, f0))
    return np.asarray(pyworld.cheaptrick(signal, contour, times, sample_rate))


def audible(
    reference: NDArray[np.float64], test: NDArray[np.float64], range_db: float = AUDIBLE_RANGE_DB
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Raise what is inaudible in either envelope to the threshold of that frame.

    Args:
        reference: (T, F), power.
        test: (T, F), power.
        range_db: distance of the threshold from the strongest frequency of the reference's frame; infinite leaves only
            the threshold of 16-bit rounding.

    Returns:
        Both as (T, F), power.

    """
    peak = reference.max(axis=1, keepdims=True)
    threshold = np.maximum(peak * 10.0 ** (-range_db / 10.0), PCM16_POWER)
    return np.maximum(reference, threshold), np.maximum(test, threshold)


def mel_cepstral_distortion_db(
    reference: NDArray[np.float64], test: NDArray[np.float64], order: int = 39, alpha: float = 0.466
) -> float:
    """Return the mel-cepstral distortion (MCD) between two sequences of envelopes, frame by frame.

    10 / ln 10 * sqrt(2 * sum over m = 1 .. order of (c_m - c'_m)^2), mean over frames; c_0, the energy, is left out,
    and no time warping is done. R. Kubichek, "Mel-cepstral distance measure for objective speech quality assessment",
    IEEE PacRim 1993.

    Args:
        reference: (T, F), power.
        test: (T, F), power.
        order: order of the mel-cepstrum.
        alpha: all-pass constant (0.466 approximates the mel scale at 24 kHz).

    Returns:
        dB.

    """
    difference = sp2mc(reference, order, alpha)[:, 1:] - sp2mc(test, order, alpha)[:, 1:]
    return float(np.mean(10.0 / np.log(10.0) * np.sqrt(2.0 * np.sum(difference**2, axis=1))))


def envelope_distortion_db(reference: NDArray[np.float64], test: NDArray[np.float64]) -> float:
    """Return the log-spectral distortion between two sequences of envelopes, frame by frame.

    sqrt(mean over frequencies of (10 log10(P / P'))^2), mean over frames; level included. A. Gray, J. Markel, "Distance
    measures for speech processing", IEEE Trans. ASSP 24(5), 1976.

    Args:
        reference: (T, F), power.
        test: (T, F), power.

    Returns:
        dB.

    """
    return float(np.mean(np.sqrt(np.mean((10.0 * np.log10(reference / test)) ** 2, axis=1))))

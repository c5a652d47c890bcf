"""How far two waveforms are apart, whether or not they have a pitch: SNR, STFT distance, loudness and peak."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyloudnorm
from numpy.typing import NDArray
from scipy.signal import get_window

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
"""(FFT size, hop, window), in samples at 24 kHz: those of Parallel WaveGAN."""

MIN_POWER = 1e-7
"""Power below which a bin counts as this, so that the logarithm of silence is defined."""

BLOCK_SECONDS = 0.4
"""Gating block of ITU-R BS.1770; nothing shorter has a loudness."""


def snr_db(reference: NDArray[np.floating[Any]], test: NDArray[np.floating[Any]]) -> float:
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


def stft_distance(reference: NDArray[np.float64], test: NDArray[np.float64]) -> float:
    """Return the mean over three resolutions of spectral convergence and log-magnitude distance, added.

    With magnitudes R and T: ||R - T|| / ||R|| (Frobenius norms) + mean |ln R - ln T|. Hann windows, ends reflected. It
    is the loss of R. Yamamoto, E. Song, J.-M. Kim, "Parallel WaveGAN", ICASSP 2020, eq. 4 to 6, with its resolutions.

    Args:
        reference: float64 (L,), longer than 1,024 samples.
        test: float64 (L,).

    Returns:
        A number without unit, 0 for equal waveforms.

    """
    distances = []
    for resolution in RESOLUTIONS:
        own, other = (_magnitudes(waveform, *resolution) for waveform in (reference, test))
        convergence = np.linalg.norm(own - other) / np.linalg.norm(own)
        distances.append(convergence + np.mean(np.abs(np.log(own / other))))
    return float(np.mean(distances))


def min_samples() -> int:
    """Return the length below which the ends cannot be reflected, in samples."""
    return max(fft_size for fft_size, _, _ in RESOLUTIONS) // 2 + 1


def _magnitudes(waveform: NDArray[np.float64], fft_size: int, hop: int, window_size: int) -> NDArray[np.float64]:
    """Return the magnitude spectra: (frames, fft_size / 2 + 1)."""
    padded = np.pad(waveform, fft_size // 2, mode="reflect")
    margin = (fft_size - window_size) // 2  # only magnitudes count, so the window need not be centred in the FFT
    frames = np.lib.stride_tricks.sliding_window_view(padded[margin:-margin], window_size)[::hop]
    spectra = np.fft.rfft(frames * get_window("hann", window_size), fft_size, axis=1)
    return np.asarray(np.sqrt(np.maximum(spectra.real**2 + spectra.imag**2, MIN_POWER)))


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

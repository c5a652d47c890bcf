"""Multi-resolution STFT distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import get_window

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
"""(FFT size, hop, window), in samples at 24 kHz: those of Parallel WaveGAN."""

MIN_POWER = 1e-7
"""Power below which a bin counts as this, so that the logarithm of silence is defined."""


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

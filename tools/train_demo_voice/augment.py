"""What is done to a recording before the analysis, so that one speaker stands for many voices and rooms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr
from scipy.signal import butter, fftconvolve, firwin2, sosfiltfilt

FloatArray = npt.NDArray[np.float64]

LEVEL_DB = -23.0
"""Level of every recording of the corpus: RMS of its loud parts, in dB of full scale."""


def resampled(waveform: FloatArray, factor: float) -> FloatArray:
    """Play faster: F0 and formants move up by `factor`, the duration shrinks by it."""
    return waveform if factor == 1.0 else np.asarray(soxr.resample(waveform, factor, 1.0, quality="VHQ"))


def without_rumble(waveform: FloatArray, sample_rate: int, cutoff_hz: float) -> FloatArray:
    """Remove what lies below `cutoff_hz`, with no delay: the features hold nothing of it."""
    return np.asarray(sosfiltfilt(butter(4, cutoff_hz, "highpass", fs=sample_rate, output="sos"), waveform))


def equalized(waveform: FloatArray, sample_rate: int, depth_db: float, random: np.random.Generator) -> FloatArray:
    """Filter with a smooth random curve of up to `depth_db` either way, linear phase, no delay."""
    gains_db = random.uniform(-depth_db, depth_db, 7)
    edges = np.array([0.0, 150.0, 500.0, 1500.0, 3500.0, 7000.0, sample_rate / 2.0])
    taps = firwin2(257, edges, 10.0 ** (gains_db / 20.0), fs=sample_rate)
    return np.asarray(fftconvolve(waveform, taps, mode="same"))


def with_noise(waveform: FloatArray, level_db: float, random: np.random.Generator) -> FloatArray:
    """Add noise that falls with frequency, `level_db` of full scale: the floor of a real recording."""
    white = random.standard_normal(len(waveform))
    spectrum = np.fft.rfft(white)
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), len(spectrum) / 200.0))
    noise = np.fft.irfft(spectrum, len(waveform))
    return np.asarray(waveform + noise * (10.0 ** (level_db / 20.0) / noise.std()))


def levelled(waveform: FloatArray, level_db: float = LEVEL_DB) -> FloatArray:
    """Scale so that the loud parts (blocks of 20 ms within 20 dB of the loudest) have an RMS of `level_db`."""
    blocks = waveform[: len(waveform) // 480 * 480].reshape(-1, 480)
    power = (blocks**2).mean(axis=1)
    if power.size == 0 or power.max() == 0.0:
        return waveform
    loud = power[power > power.max() / 100.0]
    return np.asarray(waveform * (10.0 ** (level_db / 20.0) / np.sqrt(loud.mean())))

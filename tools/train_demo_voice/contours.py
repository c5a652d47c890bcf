"""F0 contours that widen a speaker's range: moved speech, and notes to chant on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9))
"""Semitones above the tonic: major, natural minor, pentatonic."""


def moved(f0: FloatArray, median_hz: float, spread: float) -> FloatArray:
    """Move a contour to another median and widen it, on a logarithmic scale.

    Args:
        f0: (T,) in Hz, 0 where unvoiced.
        median_hz: median of the voiced frames that comes out.
        spread: factor on the deviations from the median, in log F0.

    Returns:
        (T,) in Hz, 0 where it was 0.

    """
    voiced = f0 > 0.0
    if not voiced.any():
        return f0.copy()
    log_f0 = np.log(np.where(voiced, f0, 1.0))
    centre = np.median(log_f0[voiced])
    return np.where(voiced, median_hz * np.exp(spread * (log_f0 - centre)), 0.0)


def chanted(voiced: npt.NDArray[np.bool_], rate: float, tonic_hz: float, random: np.random.Generator) -> FloatArray:
    """Draw a melody: notes of a scale, gliding into each other, with vibrato.

    Args:
        voiced: (T,) where there is an F0.
        rate: frames a second.
        tonic_hz: lowest note in Hz; the melody spans some ten semitones above it.
        random: what the notes are drawn from.

    Returns:
        (T,) in Hz, 0 where not voiced.

    """
    frames = len(voiced)
    scale = SCALES[int(random.integers(len(SCALES)))]
    semitones = np.zeros(frames)
    degree, position = int(random.integers(5)), 0
    while position < frames:
        length = max(1, int(rate * random.uniform(0.18, 0.9)))
        octave, step = divmod(degree, len(scale))
        semitones[position : position + length] = 12 * octave + scale[step]
        degree = int(np.clip(degree + random.integers(-3, 4), 0, 6))
        position += length
    glide = np.hanning(max(3, int(rate * 0.1)) | 1)
    padded = np.pad(semitones, len(glide) // 2, mode="edge")
    semitones = np.convolve(padded, glide / glide.sum(), mode="valid")
    time = np.arange(frames) / rate
    depth = random.uniform(0.0, 0.7) * (0.5 - 0.5 * np.cos(2.0 * np.pi * 0.37 * time))
    semitones += depth * np.sin(2.0 * np.pi * random.uniform(4.5, 6.5) * time + random.uniform(0.0, 6.0))
    return np.where(voiced, tonic_hz * 2.0 ** (semitones / 12.0), 0.0)

"""Audio files: any rate and channel count in, 16-bit WAV out."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from sifigan_triton.files import atomic_file

logger = logging.getLogger(__name__)

MIN_SECONDS = 0.005
"""Shortest recording that can be analysed: one frame of 5 ms."""

PCM16_SCALE = 32767.0
"""16-bit value of a full-scale sample, as libsndfile scales floating-point audio."""


class AudioError(ValueError):
    """An audio file or waveform cannot be used."""


def read_audio(path: Path, sample_rate: int) -> NDArray[np.float64]:
    """Read an audio file as one channel at the rate asked for.

    Channels are averaged, then the signal is resampled with SoXR at its "very high" quality.

    Args:
        path: a WAV, FLAC or OGG file (whatever libsndfile reads), of any rate and channel count.
        sample_rate: samples a second of the result.

    Returns:
        float64 (L,), full scale = 1.

    Raises:
        AudioError: naming the file, if it is missing, unreadable, empty, not finite or shorter than 5 ms.

    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: no such file")
    try:
        channels, rate = soundfile.read(path, dtype="float64", always_2d=True)  # (L, channels)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path}: not readable as audio, expected a WAV, FLAC or OGG file ({error})") from None
    if len(channels) == 0:
        raise AudioError(f"{path}: holds no samples, expected at least {MIN_SECONDS * 1000:g} ms")
    bad = np.flatnonzero(~np.isfinite(channels).all(axis=1))
    if len(bad):
        raise AudioError(f"{path}: {len(bad)} samples are NaN or infinite, the first at {bad[0] / rate:.3f} s")
    waveform = channels.mean(axis=1)  # (L, channels) -> (L,)
    if rate != sample_rate:
        waveform = soxr.resample(waveform, rate, sample_rate, quality="VHQ")
    if len(waveform) < MIN_SECONDS * sample_rate:
        raise AudioError(
            f"{path}: lasts {1000.0 * len(channels) / rate:.2f} ms, "
            f"expected at least one frame, {MIN_SECONDS * 1000:g} ms"
        )
    return np.asarray(waveform, dtype=np.float64)


def write_wav(
    path: Path, waveform: NDArray[np.float32] | NDArray[np.float64] | NDArray[np.int16], sample_rate: int
) -> None:
    """Write one channel as a 16-bit WAV file, which appears whole or not at all.

    Args:
        path: the file to write; missing parent folders are made.
        waveform: (L,), floating point with full scale = 1 (what lies beyond is clipped, with a warning in the log),
            or int16 as it is.
        sample_rate: samples a second.

    Raises:
        AudioError: if the waveform has another rank or dtype, or holds NaN or infinity.
        OSError: if the file cannot be written.

    """
    path = Path(path)
    samples = _pcm16(np.asarray(waveform), path)
    with atomic_file(path) as file:
        soundfile.write(file, samples, sample_rate, subtype="PCM_16", format="WAV")


def _pcm16(waveform: NDArray[np.generic], path: Path) -> NDArray[np.int16]:
    """Turn a waveform of full scale 1 into 16-bit samples; int16 passes."""
    if waveform.ndim != 1:
        raise AudioError(f"{path}: waveform has shape {waveform.shape}, expected one channel, (samples,)")
    if waveform.dtype == np.int16:
        return np.asarray(waveform, dtype=np.int16)
    if not np.issubdtype(waveform.dtype, np.floating):
        raise AudioError(f"{path}: waveform is {waveform.dtype}, expected float32, float64 or int16")
    values = waveform.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise AudioError(
            f"{path}: {len(bad)} samples of the waveform are NaN or infinite, the first is sample {bad[0]}"
        )
    clipped = int(np.count_nonzero(np.abs(values) > 1.0))
    if clipped:
        logger.warning(
            "%s: %d of %d samples clipped to full scale (peak %.3f)", path, clipped, len(values), np.abs(values).max()
        )
    samples: NDArray[np.int16] = np.rint(np.clip(values, -1.0, 1.0) * PCM16_SCALE).astype(np.int16)
    return samples

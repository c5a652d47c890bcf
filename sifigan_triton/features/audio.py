"""Audio files: any rate and channel count in, 16-bit WAV or FLAC out."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from postprocess import to_pcm16
from sifigan_triton.files import atomic_file, new_file, read_at_most

logger = logging.getLogger(__name__)

MIN_SECONDS = 0.005
"""Shortest recording that can be analysed: one frame of 5 ms."""

RATES = (4000, 384000)
"""Lowest and highest rate of a recording, in Hz: from telephones to studios. One second at 1 Hz would become 24,000
samples for every sample of the file."""

MAX_CHANNELS = 32
"""Most channels of a recording; they are averaged."""

MAX_SECONDS = 1800
"""Longest recording, more than five times what an engine of the default build takes in one call."""

MAX_VALUES = 2**27
"""Most samples over all channels, 1 GiB once decoded: half an hour of one channel at 74 kHz."""

MAX_STREAM_BYTES = 2**28
"""Most bytes that are taken from a pipe, where libsndfile cannot seek; a file has no such limit."""

FORMATS = {"": "WAV", ".wav": "WAV", ".flac": "FLAC"}
"""Format by the ending of the file's name. OGG is left out: it does not keep 16-bit samples as they are."""


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
    waveform, rate = read_waveform(path)
    if len(waveform) == 0:
        raise AudioError(f"{path}: holds no samples, expected at least {MIN_SECONDS * 1000:g} ms")
    bad = np.flatnonzero(~np.isfinite(waveform))
    if len(bad):
        raise AudioError(f"{path}: {len(bad)} samples are NaN or infinite, the first at {bad[0] / rate:.3f} s")
    seconds = len(waveform) / rate
    if rate != sample_rate:
        waveform = np.asarray(soxr.resample(waveform, rate, sample_rate, quality="VHQ"), dtype=np.float64)
    if len(waveform) < MIN_SECONDS * sample_rate:
        raise AudioError(
            f"{path}: lasts {1000.0 * seconds:.2f} ms, expected at least one frame, {MIN_SECONDS * 1000:g} ms"
        )
    return waveform


def read_waveform(path: Path) -> tuple[NDArray[np.float64], int]:
    """Read an audio file as it is, NaN and infinity included; channels are averaged.

    Args:
        path: a WAV, FLAC or OGG file (whatever libsndfile reads), or a stream of one.

    Returns:
        float64 (L,), full scale = 1, and its samples a second.

    Raises:
        AudioError: naming the file, if it is missing, unreadable or beyond the limits above, which the header tells.

    """
    path = Path(path)
    if not path.exists():
        raise AudioError(f"{path}: no such file")
    if path.is_dir():
        raise AudioError(f"{path}: is a folder, expected an audio file")
    try:
        # a pipe: libsndfile has to seek
        source = path if path.is_file() else io.BytesIO(read_at_most(path, MAX_STREAM_BYTES))
        with soundfile.SoundFile(source) as file:
            _check_header(path, file)
            channels, rate = file.read(dtype="float64", always_2d=True), file.samplerate  # (L, channels)
    except AudioError:
        raise
    except (soundfile.LibsndfileError, OSError, ValueError, TypeError) as error:
        raise AudioError(f"{path}: not readable as audio, expected a WAV, FLAC or OGG file ({error})") from None
    return np.asarray(channels.mean(axis=1)), int(rate)  # (L, channels) -> (L,)


def _check_header(path: Path, file: soundfile.SoundFile) -> None:
    """Refuse what the header of an open file says, before its samples are read."""
    rate, frames = file.samplerate, file.frames
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"{path}: its rate is {rate:,} Hz, expected {RATES[0]:,} to {RATES[1]:,} Hz: resample it")
    if file.channels > MAX_CHANNELS:
        raise AudioError(f"{path}: has {file.channels:,} channels, expected at most {MAX_CHANNELS}: mix it down")
    if frames > MAX_SECONDS * rate:
        raise AudioError(
            f"{path}: lasts {frames / rate:,.0f} s by its header, expected at most {MAX_SECONDS:,}: cut it"
        )
    if frames * file.channels > MAX_VALUES:
        raise AudioError(
            f"{path}: has {frames * file.channels:,} samples by its header, expected at most {MAX_VALUES:,}: cut it, "
            "mix it down or resample it"
        )


def audio_format(path: Path) -> str:
    """Return the format that the name of an audio file to write asks for, as libsndfile calls it.

    Raises:
        AudioError: if it is none of `FORMATS`.

    """
    name = FORMATS.get(Path(path).suffix.lower())
    if name is None:
        raise AudioError(f"{path}: cannot write {Path(path).suffix}, expected a name that ends in .wav or .flac")
    return name


def write_audio(
    path: Path,
    waveform: NDArray[np.float32] | NDArray[np.float64] | NDArray[np.int16],
    sample_rate: int,
    replace: bool = True,
) -> None:
    """Write one channel as a 16-bit WAV or FLAC file, which appears whole or not at all.

    Args:
        path: the file to write, FLAC if its name ends so, WAV if in .wav or without an ending; missing parent folders
            are made.
        waveform: (L,), floating point with full scale = 1 (what lies beyond is clipped, with a warning in the log),
            or int16 as it is.
        sample_rate: samples a second.
        replace: whether a file of this name is replaced; else it stays.

    Raises:
        AudioError: if the waveform has another rank or dtype, or holds NaN or infinity, or if the name has another
            ending.
        FileExistsError: if there is such a file, and it is not to be replaced.
        OSError: if the file cannot be written.

    """
    path, name = Path(path), audio_format(path)
    samples = _pcm16(np.asarray(waveform), path)
    with atomic_file(path) if replace else new_file(path) as file:
        soundfile.write(file, samples, sample_rate, subtype="PCM_16", format=name)


def _pcm16(waveform: NDArray[np.generic], path: Path) -> NDArray[np.int16]:
    """Turn a waveform of full scale 1 into 16-bit samples; int16 passes."""
    if waveform.ndim != 1:
        raise AudioError(f"{path}: waveform has shape {waveform.shape}, expected one channel, (samples,)")
    if waveform.dtype == np.int16:
        return np.asarray(waveform, dtype=np.int16)
    if not np.issubdtype(waveform.dtype, np.floating):
        raise AudioError(f"{path}: waveform is {waveform.dtype}, expected float32, float64 or int16")
    values = np.asarray(waveform, dtype=np.float64)
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
    return to_pcm16(np.clip(values, -1.0, 1.0))

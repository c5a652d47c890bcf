"""Acoustic features of a recording, with WORLD and SPTK.

The steps and constants are those of the feature extraction of the public SiFi-GAN code
(`sifigan/bin/extract_features.py`), so that a voice trained there sees the features it was trained on: high-pass
filter, Harvest (F0), CheapTrick (spectral envelope), D4C (aperiodicity), mel-cepstrum, band aperiodicity.

WORLD: M. Morise, F. Yokomori, K. Ozawa, "WORLD: a vocoder-based high-quality speech synthesis system for real-time
applications", IEICE Trans. E99-D(7), 2016.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyworld
from numpy.typing import NDArray
from scipy.signal import firwin, lfilter

from preprocess.f0 import raise_to_floor
from preprocess.repair import bad_frames, repair
from preprocess.voice import AnalysisSettings, GeneratorConfig, Voice
from sifigan_triton.features.audio import read_audio
from sifigan_triton.features.features import Features
from sifigan_triton.features.melcepstrum import sp2mc

logger = logging.getLogger(__name__)

HIGHPASS_TAPS = 255
"""Length of the high-pass filter in samples; it delays the signal by 127 of them."""

MIN_SAMPLE_RATE = 12000
"""Lowest rate at which WORLD codes at least one aperiodicity band, in Hz."""


class AnalysisError(ValueError):
    """A waveform cannot be analysed."""


def analyze_recording(path: Path, voice: Voice | None = None) -> Features:
    """Read an audio file, of any rate and channel count, and extract the features that a voice needs.

    Args:
        path: a WAV, FLAC or OGG file.
        voice: whose sample rate, hop and analysis settings to use; those of the public recipe if None.

    Raises:
        AudioError: if the file cannot be read.
        AnalysisError: if it cannot be analysed.

    """
    if voice is None:
        waveform = read_audio(path, Voice.sample_rate)
        return analyze(waveform, Voice.sample_rate, AnalysisSettings(), GeneratorConfig().hop_size)
    return analyze(read_audio(path, voice.sample_rate), voice.sample_rate, voice.analysis, voice.hop_size)


def analyze(waveform: NDArray[np.float64], sample_rate: int, settings: AnalysisSettings, hop_size: int) -> Features:
    """Extract F0, mel-cepstrum and band aperiodicity from a waveform.

    The number of frames is what Harvest gives, T = L // hop_size + 1: frames stand at 0, hop_size, 2 hop_size, ...
    samples, and synthesis from them yields T * hop_size samples, up to one hop more than went in.

    Args:
        waveform: float64 (L,), full scale = 1, at the voice's sample rate.
        sample_rate: the voice's sample rate in Hz.
        settings: the voice's analysis settings.
        hop_size: the voice's samples a frame.

    Returns:
        Features of T frames, all finite: `f0` in Hz with 0 where unvoiced, `mcep` (T, mcep_order + 1), `bap` (T, bands)
        with 3 bands at 24 kHz.

    Raises:
        AnalysisError: if the waveform is not one non-empty channel of finite samples, or the rate or hop is unusable.

    """
    _check(waveform, sample_rate, hop_size)
    frame_period_ms = 1000.0 * hop_size / sample_rate
    signal = np.ascontiguousarray(highpass(waveform, sample_rate, settings.highpass_hz), dtype=np.float64)
    f0, times = pyworld.harvest(
        signal, sample_rate, f0_floor=settings.f0_floor, f0_ceil=settings.f0_ceiling, frame_period=frame_period_ms
    )
    # Harvest's smoothing may end a few Hz below the floor that it was given; an engine of that floor would refuse it.
    f0 = raise_to_floor(f0, settings.f0_floor)
    fft_size = pyworld.get_cheaptrick_fft_size(sample_rate)  # 1024 at 24 kHz, for any F0 floor
    spectrum = pyworld.cheaptrick(signal, f0, times, sample_rate, fft_size=fft_size)  # (T, fft_size / 2 + 1) power
    aperiodicity = pyworld.d4c(signal, f0, times, sample_rate, fft_size=fft_size)  # (T, fft_size / 2 + 1)
    bap, mended = mend_frames(pyworld.code_aperiodicity(aperiodicity, sample_rate).astype(np.float32))
    if mended:
        logger.warning("band aperiodicity of %d of %d frames was not finite: mended from the nearest", mended, len(f0))
    return Features(
        f0=f0.astype(np.float32),
        mcep=sp2mc(spectrum, settings.mcep_order, settings.all_pass_alpha).astype(np.float32),
        bap=bap,
        sample_rate=sample_rate,
        frame_period_ms=frame_period_ms,
    )


def highpass(waveform: NDArray[np.float64], sample_rate: int, cutoff_hz: float) -> NDArray[np.float64]:
    """Filter as the public extraction does: a causal 255-tap FIR filter (Hamming window), 6 dB down at the cut-off.

    Its delay of 127 samples is kept, because training pairs features of the filtered signal with the signal as
    recorded: a voice has learnt to take the delay back.

    Args:
        waveform: float64 (L,).
        sample_rate: samples a second, in Hz.
        cutoff_hz: cut-off frequency in Hz; 0 returns the waveform as it is.

    Returns:
        float64 (L,).

    """
    if cutoff_hz <= 0.0:
        return waveform
    taps = firwin(HIGHPASS_TAPS, cutoff_hz / (sample_rate // 2), pass_zero=False)
    return np.asarray(lfilter(taps, 1.0, waveform))


def mend_frames(bap: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Replace frames that hold NaN or infinity by the nearest frame that does not, as `preprocess.repair` does.

    D4C may give such frames where a recording falls silent. Where no frame is finite, all become 0 dB (wholly
    aperiodic), as WORLD codes silence.

    Args:
        bap: (T, bands) band aperiodicity in dB.

    Returns:
        (T, bands), all finite, and the number of frames that were replaced.

    """
    bad = bad_frames(bap)
    if bad.size == len(bap):
        return np.zeros_like(bap), bad.size
    return repair({"bap": bap})["bap"], bad.size


def _check(waveform: NDArray[np.float64], sample_rate: int, hop_size: int) -> None:
    """Refuse what WORLD cannot analyse."""
    if waveform.ndim != 1 or len(waveform) == 0:
        raise AnalysisError(f"waveform has shape {waveform.shape}, expected one channel, (samples,), that is not empty")
    if not np.issubdtype(waveform.dtype, np.floating):
        raise AnalysisError(f"waveform is {waveform.dtype}, expected float64 with full scale 1")
    bad = np.flatnonzero(~np.isfinite(waveform))
    if len(bad):
        raise AnalysisError(f"waveform has {len(bad)} samples that are NaN or infinite, the first is sample {bad[0]}")
    if sample_rate < MIN_SAMPLE_RATE:
        raise AnalysisError(f"sample_rate is {sample_rate} Hz, expected at least {MIN_SAMPLE_RATE} Hz")
    if hop_size < 1:
        raise AnalysisError(f"hop_size is {hop_size}, expected at least 1 sample")

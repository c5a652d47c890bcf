"""Measures that a vocoder is judged by, beside those of `sifigan_triton.quality`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyworld

from preprocess import Voice
from sifigan_triton.features.analysis import HIGHPASS_TAPS
from sifigan_triton.features.features import Features
from sifigan_triton.features.melcepstrum import mc2sp

FloatArray = npt.NDArray[np.float64]

HNR_LIMIT_DB = 40.0
"""Largest harmonic-to-noise ratio that is reported for a frame."""


def world_resynthesis(features: Features, voice: Voice) -> FloatArray:
    """Resynthesise features with WORLD: the yardstick of what they hold.

    The delay of the analysis filter, which a trained voice takes back by itself, is taken back here.

    Returns:
        float64 (T * hop_size,).

    """
    fft_size = pyworld.get_cheaptrick_fft_size(features.sample_rate)
    f0, mcep, bap = (np.ascontiguousarray(a, np.float64) for a in (features.f0, features.mcep, features.bap))
    spectrum = mc2sp(mcep, voice.analysis.all_pass_alpha, fft_size)
    aperiodicity = pyworld.decode_aperiodicity(bap, features.sample_rate, fft_size)
    waveform = pyworld.synthesize(f0, spectrum, aperiodicity, features.sample_rate, features.frame_period_ms)
    delay = HIGHPASS_TAPS // 2 if voice.analysis.highpass_hz > 0.0 else 0
    length = features.frames * voice.hop_size
    return np.pad(waveform, (0, delay + length))[delay : delay + length]


def harmonic_to_noise_db(waveform: FloatArray, f0: FloatArray, sample_rate: int, hop_size: int) -> FloatArray:
    """Return the harmonic-to-noise ratio of the voiced frames.

    10 log10(r / (1 - r)), where r is the normalised correlation of two neighbouring stretches of the waveform, each at
    least 10 ms and one period long, at the best lag within 3 % of a period (P. Boersma, IFA Proceedings 17, 1993, in
    its simplest form).

    Args:
        waveform: (L,).
        f0: (T,) in Hz, 0 where unvoiced.
        sample_rate: in Hz.
        hop_size: samples a frame.

    Returns:
        dB, one value for each voiced frame that lies well inside the waveform, at most 40.

    """
    ratios = []
    for frame in np.flatnonzero(f0 > 0.0):
        period = sample_rate / f0[frame]
        length = int(max(0.01 * sample_rate, period))
        start = frame * hop_size - length // 2
        lags = range(int(np.floor(period * 0.97)), int(np.ceil(period * 1.03)) + 1)
        if start < 0 or start + length + lags[-1] > len(waveform):
            continue
        here = waveform[start : start + length]
        there = np.stack([waveform[start + lag : start + lag + length] for lag in lags])
        norms = np.sqrt((here**2).sum() * (there**2).sum(axis=1)) + 1e-12
        best = float(np.clip(((there @ here) / norms).max(), 1e-4, 1.0 - 1e-4))
        ratios.append(10.0 * np.log10(best / (1.0 - best)))
    return np.minimum(np.array(ratios), HNR_LIMIT_DB)


def level_db(waveform: FloatArray) -> float:
    """Return the level of a waveform in dB of full scale (RMS); silence counts as -120 dB."""
    return float(10.0 * np.log10(np.mean(waveform**2) + 1e-12))

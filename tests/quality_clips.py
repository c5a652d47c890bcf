"""Real waveforms for the tests of the quality metrics, made from the recordings."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyworld
import soundfile
from numpy.typing import NDArray

from tests.conftest import ROOT

Array = NDArray[np.float64]
RATE, HOP = 24000, 120
FRAMES = 400


@lru_cache(maxsize=1)
def clip() -> Array:
    """Two seconds of real singing: float64 (48000,), read-only."""
    samples, rate = soundfile.read(ROOT / "measurement_data" / "vocadito_14.flac", start=50400, frames=FRAMES * HOP)
    assert rate == RATE
    samples.setflags(write=False)
    return np.asarray(samples)


@lru_cache(maxsize=1)
def world() -> tuple[Array, Array, Array]:
    """Analyse the clip with WORLD alone: f0 (T,), envelope and aperiodicity (T, F), for T = 400."""
    signal = np.array(clip())
    f0, times = pyworld.dio(signal, RATE)
    f0 = pyworld.stonemask(signal, f0, times, RATE)
    envelope = pyworld.cheaptrick(signal, f0, times, RATE)
    aperiodicity = pyworld.d4c(signal, f0, times, RATE)
    return f0[:FRAMES], envelope[:FRAMES], aperiodicity[:FRAMES]


@lru_cache(maxsize=4)
def resynthesis(f0_factor: float = 1.0) -> Array:
    """Synthesise the clip anew with WORLD, its F0 multiplied: float64 (48000,), read-only."""
    f0, envelope, aperiodicity = world()
    waveform = np.zeros(FRAMES * HOP)
    made = pyworld.synthesize(f0 * f0_factor, envelope, aperiodicity, RATE)
    waveform[: len(made)] = made[: len(waveform)]
    waveform.setflags(write=False)
    return waveform


def with_error(reference: Array, snr: float, seed: int = 0) -> Array:
    """Add white noise that rises and falls with the signal, at a signal-to-noise ratio in dB."""
    error = reference * np.random.default_rng(seed).standard_normal(len(reference))
    return np.asarray(reference + error * np.linalg.norm(reference) / np.linalg.norm(error) * 10.0 ** (-snr / 20.0))

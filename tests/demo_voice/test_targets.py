"""The waveform that the generator is trained towards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from preprocess import Voice
from preprocess.excitation import make_excitation
from tests.demo_voice.toy import HOP
from tools.train_demo_voice.targets import FFT_SIZE, advanced, filtered, locked_targets, minimum_phase

FRAMES = 200
NOISE = np.random.default_rng(3).standard_normal(FRAMES * HOP).astype(np.float32)


def flat(level: float = 0.0) -> np.ndarray:
    """Mel-cepstra of an envelope without any shape."""
    return np.full((FRAMES, 40), [level] + [0.0] * 39, np.float32)


def aperiodic(db: float) -> np.ndarray:
    return np.full((FRAMES, 3), db, np.float32)


def waveform_of(
    f0: np.ndarray, cf0: np.ndarray, mcep: np.ndarray, bap: np.ndarray, noise: np.ndarray, voice: Voice
) -> np.ndarray:
    return locked_targets(f0, cf0, mcep, bap, noise, voice).waveform


def test_a_flat_envelope_passes_the_noise_and_scales_it(voice: Voice) -> None:
    silent, cf0 = np.zeros(FRAMES, np.float32), np.full(FRAMES, 150.0, np.float32)
    target = waveform_of(silent, cf0, flat(np.log(0.1)), aperiodic(0.0), NOISE, voice)
    inner = slice(HOP, -HOP)
    np.testing.assert_allclose(target[inner], 0.1 * NOISE[inner], atol=1e-4)
    source = locked_targets(silent, cf0, flat(np.log(0.1)), aperiodic(0.0), NOISE, voice).source
    np.testing.assert_allclose(source[inner], NOISE[inner], atol=1e-3)


def test_voiced_frames_have_the_phase_of_the_sine(voice: Voice) -> None:
    f0 = np.geomspace(120.0, 240.0, FRAMES).astype(np.float32)
    target = waveform_of(f0, f0, flat(), aperiodic(-60.0), NOISE, voice)
    sine = make_excitation(f0.astype(np.float64), 0, replace(voice, noise_amp=0.0))
    rising = np.flatnonzero((sine[:-1] < 0.0) & (sine[1:] >= 0.0))
    peaks = np.flatnonzero(target > 0.5 * target.max())
    assert np.abs(peaks[:, None] - rising).min(axis=1).max() <= 1
    assert (target**2).mean() == pytest.approx(1.0, abs=0.05)


def test_aperiodicity_divides_the_power_between_pulses_and_noise(voice: Voice) -> None:
    f0 = np.full(FRAMES, 150.0, np.float32)
    pulses, both, other_draw = (
        waveform_of(f0, f0, flat(), aperiodic(db), noise, voice)
        for db, noise in ((-60.0, NOISE), (-3.0, NOISE), (-3.0, -NOISE))
    )
    power = [float((part**2).mean()) for part in ((both + other_draw) / 2, (both - other_draw) / 2)]
    assert 0.02 < power[1] < 0.6, "some of it is noise"
    assert sum(power) == pytest.approx(float((pulses**2).mean()), rel=0.1)


def test_an_envelope_is_that_of_the_frame_after(voice: Voice) -> None:
    mcep = flat()
    mcep[100:, 0] = np.log(0.01)
    silent, cf0 = np.zeros(FRAMES, np.float32), np.full(FRAMES, 150.0, np.float32)
    target = waveform_of(silent, cf0, mcep, aperiodic(0.0), NOISE, voice)
    level = np.abs(target).reshape(-1, HOP // 4).mean(axis=1)
    middle = np.flatnonzero(level < 0.4)[0] * (HOP // 4)
    assert abs(middle - 98.5 * HOP) <= HOP / 2  # between 98 and 99, the first one that frame 100 describes
    assert np.array_equal(advanced(mcep)[98:100], mcep[99:101])


def test_spectra_have_the_size_of_the_envelope_and_its_least_delay(voice: Voice) -> None:
    mcep = np.random.default_rng(0).normal(0.0, 0.2, (4, 40)).astype(np.float32)
    spectra = minimum_phase(mcep, voice.analysis.all_pass_alpha)
    responses = np.fft.irfft(spectra, FFT_SIZE, axis=1)
    energy = (responses**2).cumsum(axis=1) / (responses**2).sum(axis=1, keepdims=True)
    assert energy[:, FFT_SIZE // 4].min() > 0.99
    impulse = np.zeros(4 * HOP, np.float32)
    impulse[HOP] = 1.0
    np.testing.assert_allclose(filtered(impulse, spectra[[1] * 4], HOP)[HOP:], responses[1, : 3 * HOP], atol=1e-6)

"""The excitation: a continuous phase and noise that depends on the seed and the position only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from preprocess.excitation import BLOCK, CYCLE, frame_phases, make_excitation
from preprocess.noise import Noise
from preprocess.voice import Voice
from tests.small_voice import small_voice

VOICE = small_voice()[0]
SINE_ONLY = replace(VOICE, noise_amp=0.0)
NOISE_ONLY = replace(VOICE, sine_amp=0.0)
HOP, RATE = VOICE.hop_size, VOICE.sample_rate


def glide(frames: int) -> np.ndarray:
    return np.geomspace(70.0, 800.0, frames)


@pytest.mark.parametrize(
    "cf0",
    [
        pytest.param(np.full(12000, 440.0), id="constant"),
        pytest.param(glide(12000), id="glide"),
        pytest.param(np.random.default_rng(0).uniform(70.0, 1000.0, 12000), id="jumps"),
    ],
)
def test_phase_is_continuous_over_a_minute(cf0: np.ndarray) -> None:
    phase = np.cumsum(np.repeat(cf0, HOP) / RATE)  # cycles, one sum over all samples
    sine = SINE_ONLY.sine_amp * np.sin(2.0 * np.pi * phase)
    assert sine.size == 60 * RATE
    np.testing.assert_allclose(make_excitation(cf0, 0, SINE_ONLY), sine, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("frames", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_blocks_do_not_show(frames: int) -> None:
    step = glide(frames) / RATE
    start = frame_phases(glide(frames), RATE, HOP)[:-1] / CYCLE
    phase = start[:, None] + step[:, None] * np.arange(1, HOP + 1)
    sine = np.sin((phase - np.rint(phase)).astype(np.float32) * np.float32(2.0 * np.pi)) * np.float32(VOICE.sine_amp)
    noise = np.empty(sine.shape, np.float32)
    Noise().read(4, 0, noise.reshape(-1))
    noise *= np.float32(VOICE.noise_amp)
    np.testing.assert_array_equal(make_excitation(glide(frames), 4, VOICE), (sine + noise).reshape(-1))


@pytest.mark.parametrize("frames", [1, 2, 627])
def test_length_and_type(frames: int) -> None:
    excitation = make_excitation(glide(frames), 0, VOICE)
    assert excitation.shape == (frames * HOP,)
    assert excitation.dtype == np.float32


@pytest.mark.parametrize("shorter", [1, 2, 99])
def test_shorter_utterance_is_a_prefix(shorter: int) -> None:
    cf0 = glide(100)
    whole, part = make_excitation(cf0, 7, VOICE), make_excitation(cf0[:shorter], 7, VOICE)
    np.testing.assert_array_equal(part, whole[: shorter * HOP])


def test_same_seed_same_noise() -> None:
    cf0 = glide(50)
    np.testing.assert_array_equal(make_excitation(cf0, 3, VOICE), make_excitation(cf0, 3, VOICE))
    assert not np.array_equal(make_excitation(cf0, 3, VOICE), make_excitation(cf0, 4, VOICE))


def test_seed_leaves_the_sine_alone() -> None:
    np.testing.assert_array_equal(make_excitation(glide(9), 1, SINE_ONLY), make_excitation(glide(9), 2, SINE_ONLY))


@pytest.mark.parametrize(
    ("cf0", "level"),
    [
        pytest.param(np.full(2000, 200.0), VOICE.noise_amp, id="voiced"),
        pytest.param(np.zeros(2000), VOICE.noise_amp / 3.0, id="all-unvoiced"),
    ],
)
def test_noise_level(cf0: np.ndarray, level: float) -> None:
    noise = make_excitation(cf0, 0, NOISE_ONLY)
    assert np.std(noise) == pytest.approx(level, rel=0.01)
    assert abs(np.mean(noise)) < 0.02 * level


def test_unvoiced_utterance_has_no_sine() -> None:
    np.testing.assert_array_equal(make_excitation(np.zeros(10), 0, VOICE), make_excitation(np.zeros(10), 0, NOISE_ONLY))


@pytest.mark.parametrize("amplitude", [0.1, 0.5])
def test_sine_amplitude(amplitude: float) -> None:
    voice: Voice = replace(SINE_ONLY, sine_amp=amplitude)
    assert np.abs(make_excitation(glide(500), 0, voice)).max() == pytest.approx(amplitude, rel=1e-4)


def test_f0_is_not_mutated() -> None:
    cf0 = glide(20)
    make_excitation(cf0, 0, VOICE)
    np.testing.assert_array_equal(cf0, glide(20))


@pytest.mark.parametrize("voiced", [True, False], ids=["voiced", "all-unvoiced"])
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 2), (99, 300), (BLOCK, 2 * BLOCK + 1), (299, 300)])
def test_frames_of_an_utterance_are_bitwise_the_same_alone(start: int, stop: int, voiced: bool) -> None:
    cf0 = np.random.default_rng(1).uniform(70.0, 1000.0, 300) * voiced
    phase = int(frame_phases(cf0, RATE, HOP)[start])
    part = make_excitation(cf0[start:stop], 7, VOICE, start, phase)
    np.testing.assert_array_equal(part, make_excitation(cf0, 7, VOICE)[start * HOP : stop * HOP])


def test_phases_of_an_hour_add_up_from_anywhere() -> None:
    cf0 = np.random.default_rng(2).uniform(70.0, 11000.0, 720_000)
    phases = frame_phases(cf0, RATE, HOP)
    assert 0 <= phases.min() < phases.max() < CYCLE
    for cut in (1, 4711, 719_999):
        assert phases[-1] == (phases[cut] + frame_phases(cf0[cut:], RATE, HOP)[-1]) % CYCLE
    exact = np.cumsum((cf0 / RATE * HOP).astype(np.longdouble))[-1]
    assert abs((phases[-1] / CYCLE - float(exact % 1) + 0.5) % 1.0 - 0.5) < 1e-9

"""Mel-cepstral and envelope distortion: known values, and what they ignore."""

from __future__ import annotations

import numpy as np
import pytest

from sifigan_triton.features.melcepstrum import mc2sp, sp2mc
from sifigan_triton.quality.envelope import (
    PCM16_POWER,
    audible,
    envelope_distortion_db,
    envelopes,
    mel_cepstral_distortion_db,
)
from tests.quality_clips import FRAMES, HOP, RATE, Array, clip, world


def recorded() -> Array:
    return envelopes(clip(), world()[0], RATE, HOP)


@pytest.mark.parametrize("coefficient", [1, 3, 39])
def test_mcd_of_one_shifted_coefficient(coefficient: int) -> None:
    """10 / ln 10 * sqrt(2) * |shift|, the textbook's value for a single coefficient."""
    mcep = sp2mc(recorded(), 39, 0.466)
    shifted = mcep.copy()
    shifted[:, coefficient] += 0.1
    got = mel_cepstral_distortion_db(mc2sp(mcep, 0.466, 1024), mc2sp(shifted, 0.466, 1024))
    assert got == pytest.approx(10.0 / np.log(10.0) * np.sqrt(2.0) * 0.1, rel=1e-3)


def test_a_gain_is_envelope_distortion_and_no_mcd() -> None:
    envelope = recorded()
    assert mel_cepstral_distortion_db(envelope, 4.0 * envelope) == pytest.approx(0.0, abs=1e-9)
    assert envelope_distortion_db(envelope, 4.0 * envelope) == pytest.approx(20.0 * np.log10(2.0))


def test_envelope_distortion_is_the_root_mean_square_over_frequencies() -> None:
    reference, test = np.ones((3, 513)), np.ones((3, 513))
    test[0, : 513 // 4] = 10.0  # 10 dB in a quarter of one frame in three
    assert envelope_distortion_db(reference, test) == pytest.approx(10.0 * np.sqrt(128 / 513) / 3.0)


def test_envelopes_stand_at_the_frames() -> None:
    assert recorded().shape == (FRAMES, 513)
    noise = np.random.default_rng(0).standard_normal(RATE)
    assert envelopes(noise, np.zeros(200), RATE, HOP).mean() == pytest.approx(1.0, abs=0.1), "power of white noise"


def test_what_nobody_hears_is_not_compared() -> None:
    """An emptied band (below -80 dB) that FP16 rounding fills outweighs everything else, unless it is left out."""
    rounded = envelopes(clip().astype(np.float16).astype(np.float64), world()[0], RATE, HOP)
    every = audible(recorded(), rounded, np.inf)
    heard = audible(recorded(), rounded)
    assert mel_cepstral_distortion_db(*every) > 0.3
    assert mel_cepstral_distortion_db(*heard) < 0.1
    assert heard[0].min() >= PCM16_POWER
    peak = recorded().max(axis=1, keepdims=True)
    assert (heard[0] >= np.minimum(peak, 1e-8 * peak)).all()


def test_silence_is_as_loud_as_16_bit_rounding() -> None:
    silence = envelopes(np.zeros(RATE), np.zeros(200), RATE, HOP)
    rounding = np.random.default_rng(0).uniform(-0.5, 0.5, RATE) / 32768.0
    spectra = audible(silence, envelopes(rounding, np.zeros(200), RATE, HOP))
    assert envelope_distortion_db(*spectra) < 2.5
    assert envelope_distortion_db(silence, envelopes(rounding, np.zeros(200), RATE, HOP)) > 40.0

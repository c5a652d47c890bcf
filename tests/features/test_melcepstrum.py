"""Mel-cepstra against SPTK's own numbers (`data/make_sp2mc_reference.py`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sifigan_triton.features.melcepstrum import frequency_transform, mc2sp, sp2mc

REFERENCE = Path(__file__).parents[1] / "data" / "sp2mc_reference.npz"
CASES = ["voice-24k", "voice-48k", "no-warping", "order-0", "negative-alpha"]


@pytest.mark.parametrize("case", CASES)
def test_same_numbers_as_sptk(case: str) -> None:
    with np.load(REFERENCE) as reference:
        fft_size, order, alpha = reference[f"{case}/settings"]
        spectrum, mcep, smoothed = (reference[f"{case}/{name}"] for name in ("spectrum", "mcep", "smoothed"))
    before = spectrum.copy()
    np.testing.assert_allclose(sp2mc(spectrum, int(order), alpha), mcep, rtol=1e-10, atol=0.0)
    np.testing.assert_allclose(mc2sp(mcep, alpha, int(fft_size)), smoothed, rtol=1e-10, atol=0.0)
    assert np.array_equal(spectrum, before)


def test_round_trip_of_a_smooth_spectrum() -> None:
    mcep = np.random.default_rng(0).normal(size=(7, 40)) * 0.3 ** np.arange(40)
    assert np.allclose(sp2mc(mc2sp(mcep, 0.466, 1024), 39, 0.466), mcep, atol=1e-9)


def test_level_moves_only_the_first_coefficient() -> None:
    spectrum = np.random.default_rng(1).uniform(0.1, 1.0, (2, 513))
    louder = sp2mc(spectrum * 10.0, 39, 0.466) - sp2mc(spectrum, 39, 0.466)
    assert np.allclose(louder[:, 0], np.log(10.0) / 2.0)
    assert np.allclose(louder[:, 1:], 0.0, atol=1e-12)


def test_warping_twice_is_undone_by_the_opposite() -> None:
    there, back = frequency_transform(20, 400, 0.466), frequency_transform(401, 19, -0.466)
    assert np.allclose(there @ back, np.eye(20), atol=1e-9)


def test_matrix_is_cached_and_cannot_be_changed() -> None:
    matrix = frequency_transform(1024, 39, 0.466)
    assert frequency_transform(1024, 39, 0.466) is matrix
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 2.0


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_spectrum_without_logarithm(value: float) -> None:
    spectrum = np.ones((5, 513))
    spectrum[3, 100] = value
    with pytest.raises(ValueError, match="spectrum at frame 3 has a value that is not a positive finite number"):
        sp2mc(spectrum, 39, 0.466)


@pytest.mark.parametrize(
    ("shape", "order", "alpha", "message"),
    [
        pytest.param((513,), 39, 0.466, r"spectrum has shape \(513,\), expected \(frames, ", id="rank"),
        pytest.param((2, 1), 39, 0.466, r"spectrum has shape \(2, 1\)", id="one-bin"),
        pytest.param((2, 513), -1, 0.466, "order is -1, expected 0 or more", id="order"),
        pytest.param((2, 513), 39, 1.0, "alpha is 1.0, expected a number between -1 and 1", id="alpha"),
    ],
)
def test_unusable_arguments(shape: tuple[int, ...], order: int, alpha: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sp2mc(np.ones(shape), order, alpha)


def test_odd_fft_size() -> None:
    with pytest.raises(ValueError, match="fft_size is 1023, expected an even number"):
        mc2sp(np.zeros((1, 40)), 0.466, 1023)
    with pytest.raises(ValueError, match=r"mcep has shape \(40,\), expected \(frames, order \+ 1\)"):
        mc2sp(np.zeros(40), 0.466, 1024)

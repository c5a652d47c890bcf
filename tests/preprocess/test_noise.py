"""The noise of a seed is the same whatever was asked for before."""

from __future__ import annotations

import numpy as np
import pytest

from preprocess.noise import Noise, noise_of


def drawn(seed: int, samples: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples, np.float32)


@pytest.mark.parametrize("asked", [[1000], [1, 2, 7, 120, 1000], [1000, 3, 999, 1001], [501, 501]], ids=str)
def test_noise_is_drawn_from_the_start_of_the_utterance(asked: list[int]) -> None:
    noise = Noise(3)
    for samples in asked:
        np.testing.assert_array_equal(noise.first(samples), drawn(3, samples))


def test_what_was_handed_out_stays() -> None:
    noise = Noise(0)
    short, longer = noise.first(10), noise.first(20)
    np.testing.assert_array_equal(short, longer[:10])
    for values in (short, longer):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1.0


def test_each_seed_has_its_own() -> None:
    for seed in (1, 2, 2, 1):
        np.testing.assert_array_equal(noise_of(seed).first(50), drawn(seed, 50))


def test_nothing_is_drawn_twice() -> None:
    long = noise_of(5).first(100)
    assert np.shares_memory(noise_of(5).first(60), long)

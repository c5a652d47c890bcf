"""The noise of a seed is a function of the position, whatever was asked for before."""

from __future__ import annotations

import numpy as np
import pytest

from preprocess.noise import BLOCK, Noise


def read(noise: Noise, seed: int, first: int, samples: int) -> np.ndarray:
    values = np.full(samples, np.nan, np.float32)
    noise.read(seed, first, values)
    return values


def drawn(seed: int, first: int, samples: int) -> np.ndarray:
    """Draw what the documentation promises, block by block."""
    blocks = range(first // BLOCK, (first + samples - 1) // BLOCK + 1)
    generators = [np.random.Generator(np.random.PCG64(seed).jumped(index)) for index in blocks]
    joined = np.concatenate([generator.standard_normal(BLOCK, np.float32) for generator in generators])
    return joined[first % BLOCK :][:samples]


@pytest.mark.parametrize("kept", [1, 2, 100])
def test_noise_depends_on_seed_and_position_alone(kept: int) -> None:
    noise, random = Noise(kept), np.random.default_rng(0)
    for _ in range(60):
        seed, first, samples = int(random.integers(3)), int(random.integers(5 * BLOCK)), int(random.integers(1, 9000))
        np.testing.assert_array_equal(read(noise, seed, first, samples), drawn(seed, first, samples))


@pytest.mark.parametrize("position", [2**40, 2**58 - 5], ids=str)
def test_any_position_can_be_reached(position: int) -> None:
    np.testing.assert_array_equal(read(Noise(), 2**63 - 1, position, 100), drawn(2**63 - 1, position, 100))


def test_blocks_and_seeds_have_nothing_in_common() -> None:
    noise = Noise()
    rows = np.stack([read(noise, seed, index * BLOCK, BLOCK) for seed in range(4) for index in range(16)])
    correlation = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(correlation).max() < 6.0 / np.sqrt(BLOCK)
    assert abs(rows.mean()) < 0.01
    assert rows.std() == pytest.approx(1.0, rel=0.01)


def test_memory_has_a_limit() -> None:
    noise = Noise(kept=3)
    for seed in range(50):
        read(noise, seed, 0, 2 * BLOCK)
    assert len(noise._blocks) == 3


def test_what_was_handed_out_can_be_changed_without_harm() -> None:
    noise = Noise()
    read(noise, 0, 0, 100)[:] = 0.0
    np.testing.assert_array_equal(read(noise, 0, 0, 100), drawn(0, 0, 100))

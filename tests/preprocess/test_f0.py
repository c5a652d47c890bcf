"""Continuous F0 and the integer tap offsets."""

from __future__ import annotations

import numpy as np
import pytest

from preprocess.f0 import continuous_f0, largest_offsets, lowest_f0, raise_to_floor, tap_offsets
from preprocess.voice import PdIndexing, Voice
from tests.small_voice import small_voice

MODES: list[PdIndexing] = ["reflect", "zero"]


def voice_of(mode: PdIndexing) -> Voice:
    return small_voice(mode)[0]


def reference_offset(f0: float, dense: float, dilation: int, mode: PdIndexing) -> int:
    """Return one offset as the public training code computes it, in scalar arithmetic."""
    factor = np.float32(24000 / dense / f0)  # FP64 stored as FP32
    product = factor * np.float32(dilation)
    assert product.dtype == np.float32
    return max(int(product), 1) if mode == "reflect" else int(np.rint(product))


@pytest.mark.parametrize(
    ("f0", "expected"),
    [
        pytest.param([100, 200, 300], [100, 200, 300], id="voiced"),
        pytest.param([0, 0, 200, 0], [200, 200, 200, 200], id="ends-held"),
        pytest.param([100, 0, 0, 0, 300], [100, 150, 200, 250, 300], id="linear-in-hz"),
        pytest.param([0, 100, 0, 200, 0], [100, 100, 150, 200, 200], id="both"),
        pytest.param([0, 0, 0], [0, 0, 0], id="all-unvoiced"),
        pytest.param([0], [0], id="one-unvoiced-frame"),
        pytest.param([123], [123], id="one-voiced-frame"),
    ],
)
def test_continuous_f0(f0: list[float], expected: list[float]) -> None:
    given = np.array(f0, np.float32)
    cf0 = continuous_f0(given)
    np.testing.assert_array_equal(cf0, expected)
    assert cf0.dtype == np.float64
    np.testing.assert_array_equal(given, f0)


def test_continuous_f0_stays_between_its_neighbours() -> None:
    random = np.random.default_rng(0)
    f0 = np.where(random.random(2000) < 0.2, random.uniform(70, 800, 2000), 0.0).astype(np.float32)
    cf0, voiced = continuous_f0(f0), np.flatnonzero(f0)
    np.testing.assert_array_equal(cf0[voiced], f0[voiced])
    assert cf0.min() >= f0[voiced].min()
    assert cf0.max() <= f0[voiced].max()


@pytest.mark.parametrize("mode", MODES)
def test_offsets_equal_the_scalar_reference(mode: PdIndexing) -> None:
    voice = voice_of(mode)
    f0 = np.concatenate([np.geomspace(30.0, 11000.0, 500), np.float32([76.8, 440.0, 261.63])]).astype(np.float32)
    cf0 = f0.astype(np.float64)
    offsets = tap_offsets(cf0, voice)
    assert offsets.dtype == np.int32
    assert offsets.shape == (10, f0.size)
    for row, (stage, dilation) in enumerate(voice.generator.pitch_dependent_convs):
        expected = [reference_offset(hz, voice.dense_factors[stage], dilation, mode) for hz in cf0]
        assert offsets[row].tolist() == expected
    np.testing.assert_array_equal(cf0, f0)


def test_offsets_are_truncated_in_fp32() -> None:
    f0 = np.float32(76.8).astype(np.float64)  # 76.80000305...: 624.99998 samples in FP64, 625 once stored as FP32
    assert int(24000 / 0.5 / f0) == 624
    assert tap_offsets(np.array([f0]), voice_of("reflect"))[0, 0] == 625


def test_fp16_factors_would_give_other_offsets() -> None:
    voice, cf0 = voice_of("reflect"), np.geomspace(70.0, 800.0, 1000)
    stages = [stage for stage, _ in voice.generator.pitch_dependent_convs]
    dilations = np.array([dilation for _, dilation in voice.generator.pitch_dependent_convs], np.float32)
    factors = 24000 / np.array(voice.dense_factors)[stages, None] / cf0
    rounded = np.maximum((factors.astype(np.float16).astype(np.float32) * dilations[:, None]).astype(np.int32), 1)
    assert np.mean(rounded != tap_offsets(cf0, voice)) > 0.01


@pytest.mark.parametrize(("mode", "least"), [("reflect", 1), ("zero", 0)], ids=MODES)
def test_least_offset(mode: PdIndexing, least: int) -> None:
    assert tap_offsets(np.array([11999.0]), voice_of(mode)).min() == least


@pytest.mark.parametrize(("mode", "expected"), [("reflect", 2), ("zero", 3)], ids=MODES)
def test_reflect_truncates_and_zero_rounds(mode: PdIndexing, expected: int) -> None:
    factor = 24000 / 8.0 / 1100.0  # 2.73 at the highest rate, dilation 1
    assert int(factor) == 2
    assert tap_offsets(np.array([1100.0]), voice_of(mode))[6, 0] == expected


@pytest.mark.parametrize("mode", MODES)
def test_offsets_fall_as_f0_rises(mode: PdIndexing) -> None:
    offsets = tap_offsets(np.linspace(30.0, 11999.0, 20000), voice_of(mode))
    assert (np.diff(offsets, axis=1) <= 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_unvoiced_utterance_has_a_factor_of_one(mode: PdIndexing) -> None:
    voice = voice_of(mode)
    dilations = [[dilation] * 3 for _, dilation in voice.generator.pitch_dependent_convs]
    np.testing.assert_array_equal(tap_offsets(np.zeros(3), voice), dilations)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("floor", [33.3, 70.0, 71.3, 76.8, 100.0, 400.0])
def test_largest_offsets_bound_every_admitted_f0(mode: PdIndexing, floor: float) -> None:
    voice = voice_of(mode)
    stored = np.float32(floor)  # may lie just below the floor
    f0 = np.concatenate([[stored, np.nextafter(stored, np.float32(np.inf))], np.geomspace(floor, 12000.0, 3000)])
    assert stored >= lowest_f0(floor)
    admitted = f0[f0 >= lowest_f0(floor)]
    bound = np.array(largest_offsets(voice, floor))
    assert (tap_offsets(admitted, voice) <= bound[:, None]).all()
    assert (tap_offsets(f0[:1], voice)[:, 0] >= bound - 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_voiced_frames_are_raised_to_the_floor(dtype: type[np.float32] | type[np.float64]) -> None:
    given = np.array([0.0, 50.0, 70.1, 300.0, 0.0], dtype)
    before = given.copy()
    raised = raise_to_floor(given, 70.1)
    np.testing.assert_array_equal(raised, np.array([0.0, 70.1, 70.1, 300.0, 0.0], dtype))
    assert raised.dtype == dtype
    assert (raised[raised > 0.0] >= lowest_f0(70.1)).all()
    np.testing.assert_array_equal(given, before)

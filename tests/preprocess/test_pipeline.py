"""One request's features to the engine's windows."""

from __future__ import annotations

import numpy as np
import pytest

from preprocess import RequestError, condition, preprocess
from preprocess.f0 import continuous_f0, tap_offsets
from tests.small_voice import random_features, small_settings, small_voice

VOICE = small_voice()[0]
SETTINGS = small_settings(VOICE)[0]
F0 = np.array([0, 500, 600, 0, 800, 0] * 10, np.float32)
MCEP, BAP = random_features(VOICE, F0.size)


def as_windows(**optional: np.ndarray) -> dict[str, np.ndarray]:
    return dict(vars(preprocess(F0, MCEP, BAP, SETTINGS, **optional)))


def test_shapes_and_types() -> None:
    excitation, features, offsets = condition(F0, MCEP, BAP, VOICE)
    assert (excitation.shape, excitation.dtype) == ((1, F0.size * 120), np.float32)
    assert (features.shape, features.dtype) == ((43, F0.size), np.float32)
    assert (offsets.shape, offsets.dtype) == ((10, F0.size), np.int32)


def test_features_have_the_statistics_taken_out() -> None:
    _, features, _ = condition(F0, MCEP, BAP, VOICE)
    for row, (values, statistics, column) in enumerate(
        [(MCEP, VOICE.mcep, c) for c in range(40)] + [(BAP, VOICE.bap, c) for c in range(3)]
    ):
        expected = (values[:, column].astype(np.float64) - statistics.mean[column]) / statistics.scale[column]
        np.testing.assert_array_equal(features[row], expected.astype(np.float32))


def test_f0_factor_moves_the_pitch_and_nothing_else() -> None:
    plain, shifted = condition(F0, MCEP, BAP, VOICE), condition(F0, MCEP, BAP, VOICE, f0_factor=1.26)
    np.testing.assert_array_equal(plain[1], shifted[1])
    np.testing.assert_array_equal(shifted[2], tap_offsets(continuous_f0(F0) * 1.26, VOICE))
    assert not np.array_equal(plain[0], shifted[0])


def test_optional_inputs_default_to_no_change() -> None:
    given = as_windows(f0_factor=np.ones(1, np.float32), seed=np.zeros(1, np.int64))
    for name, values in as_windows().items():
        np.testing.assert_array_equal(values, given[name])


def test_seed_changes_the_excitation_only() -> None:
    other = as_windows(seed=np.array([5]))
    same = {name: np.array_equal(values, other[name]) for name, values in as_windows().items()}
    assert same == {"excitation": False, "features": True, "offsets": True, "bounds": True}


@pytest.mark.parametrize("f0", [np.zeros(50, np.float32), F0], ids=["all-unvoiced", "mixed"])
def test_output_is_finite(f0: np.ndarray) -> None:
    windows = preprocess(f0, *random_features(VOICE, f0.size), SETTINGS)
    assert all(np.isfinite(values).all() for values in vars(windows).values())
    assert windows.offsets.min() >= 1


def test_inputs_are_not_mutated() -> None:
    before = [values.copy() for values in (F0, MCEP, BAP)]
    as_windows(f0_factor=np.array([1.26], np.float32), seed=np.array([1]))
    for values, copy in zip((F0, MCEP, BAP), before, strict=True):
        np.testing.assert_array_equal(values, copy)


def test_f0_below_the_floor_is_refused() -> None:
    with pytest.raises(RequestError, match=r"at frame 1 .* below the engine's floor"):
        as_windows(f0_factor=np.array([0.5], np.float32))

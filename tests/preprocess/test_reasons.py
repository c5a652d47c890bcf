"""Every refusal says, in one of a few words, why: an operator counts by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from preprocess import Reason, RequestError
from preprocess.interfaces import INTERFACES, Interface, Tensors
from preprocess.older_tensors import EXCITATION, FACTORS, FEATURES
from tests.preprocess.test_interfaces import FRAMES, SETTINGS, request_of

FLOOR = SETTINGS.f0_floor
OURS, OLDER = INTERFACES


def changed(name: str, change: Callable[[Any], Any]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: change(tensors[name])}


def at(value: float, *where: int) -> Callable[[Any], Any]:
    def change(values: Any) -> Any:
        values = values.copy()
        values[where] = value
        return values

    return change


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: values for key, values in tensors.items() if key != name}


def added(name: str, value: Any) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: value}


CASES: list[tuple[Interface, Reason, Callable[[Tensors], Tensors]]] = [
    (OURS, "value", changed("f0", at(-1.0, 3))),
    (OURS, "value", changed("f0", at(1e5, 3))),
    (OURS, "value", added("f0_factor", np.zeros(1, np.float32))),
    (OURS, "value", added("seed", np.array([-1]))),
    (OURS, "shape", without("bap")),
    (OURS, "shape", changed("mcep", lambda mcep: mcep[:, :-1])),
    (OURS, "shape", changed("mcep", lambda mcep: mcep.astype(np.float64))),
    (OURS, "shape", changed("bap", lambda bap: bap[:-1])),
    (OURS, "shape", added("seed", np.zeros(2, np.int64))),
    (OURS, "length", changed("f0", lambda f0: f0[:0])),
    (OURS, "length", changed("f0", lambda f0: np.resize(f0, SETTINGS.longest_frames + 1))),
    (OURS, "not_finite", changed("bap", at(np.nan, 3, 1))),
    (OURS, "not_finite", lambda tensors: {**tensors, "f0": tensors["f0"] * np.nan, "repair": np.array([True])}),
    (OURS, "f0_floor", changed("f0", at(FLOOR / 2, 3))),
    (OURS, "range", changed("mcep", at(1e6, 3, 1))),
    (OLDER, "value", changed(FACTORS, at(-1.0, 0, 3))),
    (OLDER, "value", changed(FACTORS, at(1.0, 0, -1))),
    (OLDER, "shape", without(FACTORS)),
    (OLDER, "shape", changed(FACTORS, lambda factors: factors[:-1])),
    (OLDER, "shape", changed(EXCITATION, lambda excitation: excitation.astype(np.float64))),
    (OLDER, "shape", changed(EXCITATION, lambda excitation: excitation[:, :-1])),
    (OLDER, "length", changed(FEATURES, lambda features: features[:, :0])),
    (OLDER, "not_finite", changed(FEATURES, at(np.inf, 1, 3))),
    (OLDER, "not_finite", changed(EXCITATION, at(np.nan, 0, 3))),
    (OLDER, "f0_floor", changed(FACTORS, lambda factors: factors * np.float32(4.0))),
    (OLDER, "range", changed(FEATURES, at(1e6, 1, 3))),
    (OLDER, "range", changed(EXCITATION, at(1e6, 0, 3))),
]


@pytest.mark.parametrize(
    ("interface", "reason", "spoil"), CASES, ids=[f"{c[0].timed}-{c[1]}-{i}" for i, c in enumerate(CASES)]
)
def test_a_refusal_has_its_reason(interface: Interface, reason: Reason, spoil: Callable[[Tensors], Tensors]) -> None:
    tensors = request_of(interface.function)
    assert interface.outputs(tensors, SETTINGS)["samples"] == FRAMES * SETTINGS.voice.hop_size
    with pytest.raises(RequestError) as refused:
        interface.outputs(spoil(tensors), SETTINGS)
    assert refused.value.reason == reason


def test_every_reason_is_tried() -> None:
    assert {reason for _, reason, _ in CASES} == set(get_args(Reason))

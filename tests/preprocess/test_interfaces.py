"""Both ways to ask for an utterance give the engine the same tensors."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from benchmarks.older_interface import older_tensors
from preprocess import RequestError, Windows, interface_of, names, preprocess_tensors
from preprocess.interfaces import INTERFACES, Tensors
from preprocess.pipeline import prepare, preprocess
from sifigan_triton.features.requests import Request
from tests.small_voice import random_features, small_settings, small_voice

VOICE = small_voice()[0]
SETTINGS = small_settings(VOICE)[0]
FRAMES = 50


def request_of(function: object) -> Tensors:
    """Return the tensors of one utterance, through the interface of a function."""
    request = Request(np.full(FRAMES, 500.0, np.float32), *random_features(VOICE, FRAMES))
    return dict(vars(request)) if function is prepare else dict(older_tensors(request, VOICE))


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("function", [prepare, preprocess_tensors])
def test_outputs_are_the_windows_and_the_length(function: object, dynamic: bool) -> None:
    settings = replace(SETTINGS, dynamic=dynamic)
    (interface,) = (interface for interface in INTERFACES if interface.function is function)
    outputs = interface.outputs(request_of(function), settings)
    expected = preprocess(**request_of(prepare), settings=settings)
    length = {names.WANTED, names.FIRST_SAMPLE, names.SAMPLES, names.NEXT_PHASE}
    assert set(outputs) == {*names.STATIC_INPUTS, *length}
    for name in names.STATIC_INPUTS:
        np.testing.assert_array_equal(outputs[name], getattr(expected, name))
    np.testing.assert_array_equal(outputs[names.SAMPLES], [FRAMES * VOICE.hop_size])
    assert outputs[names.SAMPLES].dtype == np.int64
    assert outputs[names.FIRST_SAMPLE].tolist() == [0]
    assert outputs[names.WANTED].shape == (len(expected.bounds), 1)
    assert outputs[names.WANTED].sum() == FRAMES


def test_windows_hold_the_inputs_of_a_static_engine() -> None:
    assert tuple(field.name for field in fields(Windows)) == names.STATIC_INPUTS


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda interface: interface.timed)
def test_a_models_inputs_tell_its_interface(interface: object) -> None:
    assert interface_of(list(interface.arguments)) is interface  # type: ignore[attr-defined]


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda interface: interface.timed)
def test_an_empty_request_is_told_what_is_missing(interface: object) -> None:
    with pytest.raises(RequestError, match="missing, expected"):
        interface.outputs({}, SETTINGS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda interface: interface.timed)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "missing, expected"),
        ("long", r"has 4097 frames \(20.5 s\), expected at most 4096"),
        ("empty", "has 0 frames, expected at least 1"),
    ],
)
def test_what_does_not_fit_is_refused_without_reading_a_value(interface: Any, fault: str, message: str) -> None:
    tensors = request_of(interface.function)
    for values in tensors.values():
        values[...] = np.nan
    interface.refuse_early(tensors, SETTINGS)
    if fault == "missing":
        del tensors[interface.timed]
    else:
        count = {"long": SETTINGS.longest_frames + 1, "empty": 0}[fault]
        shape = list(tensors[interface.timed].shape)
        shape[-1] = count
        tensors[interface.timed] = np.broadcast_to(np.float32(0.0), shape)
    with pytest.raises(RequestError, match=message):
        interface.refuse_early(tensors, SETTINGS)

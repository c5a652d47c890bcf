"""Features that no voice has are refused, through both interfaces; all that recordings have is taken."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.older_interface import older_tensors
from benchmarks.tracks import shipped
from preprocess import RequestError, Voice, condition, preprocess, preprocess_tensors
from preprocess.older_tensors import EXCITATION, FACTORS, FEATURES
from preprocess.validate import LARGEST_DEVIATION
from sifigan_triton.features.requests import Request
from tests.conftest import DEMO
from tests.small_voice import random_features, small_settings, small_voice

FRAMES = 20
VOICES = [Voice.load(DEMO / "voice.json"), small_voice()[0]]
SETTINGS = replace(small_settings(VOICES[1])[0], f0_floor=70.0, max_batch_size=128)
by_voice = pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.name)


def request_of(voice: Voice) -> Request:
    return Request(np.full(FRAMES, 200.0, np.float32), *random_features(voice, FRAMES))


def older(request: Request, voice: Voice, excitation: float | None = None) -> None:
    tensors = older_tensors(request, voice)
    if excitation is not None:
        tensors[EXCITATION][0, 613] = excitation
    with np.errstate(over="ignore"):
        preprocess_tensors(*(tensors[name] for name in (EXCITATION, FEATURES, FACTORS)), replace(SETTINGS, voice=voice))


@by_voice
@pytest.mark.parametrize("value", [100.0, -1e3, 1e30, 3e38], ids=lambda value: f"{value:g}")
@pytest.mark.parametrize(("name", "coefficient"), [("mcep", 7), ("mcep", 39), ("bap", 2)])
def test_a_value_that_no_voice_has_is_refused(voice: Voice, name: str, coefficient: int, value: float) -> None:
    if name == "bap" and value == 100.0:
        value = 1e4
    request = request_of(voice)
    getattr(request, name)[[5, 9], coefficient] = value
    where = rf"{name} is {re.escape(f'{value:g}')} at frame 5, coefficient {coefficient}: \S+ standard deviations from"
    expected = rf"expected at most {LARGEST_DEVIATION:g} \(2 of {FRAMES} frames lie further away\): mend the analysis"
    with pytest.raises(RequestError, match=f"{where} the voice's mean, {expected}"):
        preprocess(request.f0, request.mcep, request.bap, replace(SETTINGS, voice=voice))
    if abs(value) < 1e30:  # behind it the older client itself leaves FP32
        with pytest.raises(
            RequestError, match=rf"{FEATURES} \({name}\) is \S+ at frame 5, coefficient {coefficient}: "
        ):
            older(request, voice)


@by_voice
def test_what_recordings_have_is_far_from_the_bound(voice: Voice) -> None:
    for name in ("frames-627", "long", "several", "short"):
        for request in shipped(name):
            _, features, _ = condition(request.f0, request.mcep, request.bap, voice)
            assert np.abs(features).max() < LARGEST_DEVIATION / 3


@by_voice
@pytest.mark.parametrize("deviations", [-0.999, 0.999])
def test_what_lies_within_the_bound_is_taken(voice: Voice, deviations: float) -> None:
    request = request_of(voice)
    for values, statistics in ((request.mcep, voice.mcep), (request.bap, voice.bap)):
        values[:] = np.array(statistics.mean) + deviations * LARGEST_DEVIATION * np.array(statistics.scale)
    preprocess(request.f0, request.mcep, request.bap, replace(SETTINGS, voice=voice))
    older(request, voice)


@pytest.mark.parametrize("value", [10.0, -1e30])
def test_a_loud_excitation_is_refused(value: float) -> None:
    message = (
        rf"INPUT__0 is {re.escape(f'{value:g}')} at sample 613 \(frame 5\), expected at most 3.09: make it with the"
    )
    with pytest.raises(RequestError, match=message):
        older(request_of(VOICES[1]), VOICES[1], value)
    older(request_of(VOICES[1]), VOICES[1], 0.2)

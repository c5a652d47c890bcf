"""The older engines' tensors make the same windows as the features that they were prepared from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.older_interface import older_tensors
from benchmarks.tracks import TRACKS, shipped
from preprocess import Repair, RequestError, Settings, Windows, preprocess, preprocess_tensors
from preprocess.older_tensors import EXCITATION, FACTORS, FEATURES
from preprocess.voice import PdIndexing, Voice
from sifigan_triton.features.requests import Request
from tests.small_voice import random_features, small_settings, small_voice

VOICES: dict[PdIndexing, Voice] = {"reflect": small_voice()[0], "zero": small_voice("zero")[0]}
VOICE = VOICES["reflect"]
SETTINGS = replace(small_settings(VOICE)[0], f0_floor=70.0, max_batch_size=4)
FRAMES = 40
TRUE = np.ones(1, np.bool_)

Tensors = dict[str, np.ndarray]


def request_of(f0: np.ndarray) -> Request:
    return Request(f0, *random_features(VOICE, f0.size))


def convert(tensors: Tensors, settings: Settings = SETTINGS, **optional: object) -> Windows:
    given = (tensors.get(name) for name in (EXCITATION, FEATURES, FACTORS))
    return preprocess_tensors(*given, settings, **optional)  # type: ignore[arg-type]


def assert_same(a: Windows, b: Windows) -> None:
    for name, values in vars(a).items():
        np.testing.assert_array_equal(values, vars(b)[name], err_msg=name)


@pytest.mark.parametrize("indexing", VOICES)
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("frames", [1, 32, 33, 100])
@pytest.mark.parametrize("track", ["floor", "glide", "half unvoiced"])
def test_same_windows_as_from_the_features(indexing: PdIndexing, dynamic: bool, frames: int, track: str) -> None:
    voice = VOICES[indexing]
    settings = replace(SETTINGS, voice=voice, dynamic=dynamic)
    request = request_of(TRACKS[track](frames, 70.0))
    assert_same(
        convert(older_tensors(request, voice), settings), preprocess(request.f0, request.mcep, request.bap, settings)
    )


def test_offsets_come_straight_from_the_factors() -> None:
    """Where nothing is voiced, the older client halves the factors from scale to scale; `sifigan` takes 1 for all."""
    request = request_of(np.zeros(FRAMES, np.float32))
    tensors = older_tensors(request, VOICE)
    assert [tensors[FACTORS][row, 0] for row in range(4)] == [1.0, 0.5, 0.125, 0.0625]
    assert convert(tensors, replace(SETTINGS, dynamic=True)).offsets[0, :, 0].tolist() == [1] * 10
    tensors[FACTORS][3] = 3.9
    offsets = convert(tensors, replace(SETTINGS, dynamic=True)).offsets[0, :, 0]
    assert offsets.tolist() == [1, 1, 1, 1, 1, 1, 3, 7, 15, 31]


def test_the_recording_of_the_measurements() -> None:
    request = shipped("frames-627")[0]
    settings = replace(SETTINGS, max_batch_size=128)
    assert_same(
        convert(older_tensors(request, VOICE), settings), preprocess(request.f0, request.mcep, request.bap, settings)
    )


def test_inputs_are_not_mutated() -> None:
    tensors = older_tensors(request_of(np.full(FRAMES, 200.0, np.float32)), VOICE)
    tensors[FEATURES][3, 5] = np.nan
    before = {name: values.copy() for name, values in tensors.items()}
    convert(tensors, repair=TRUE)
    for name, values in tensors.items():
        np.testing.assert_array_equal(values, before[name])


def test_factors_in_fp16_would_change_the_indices() -> None:
    """Why `INPUT__2` is FP32 only; `benchmarks/older_interface.py` measures what it would cost."""
    tensors = older_tensors(shipped("frames-627")[0], VOICE)
    settings = replace(SETTINGS, max_batch_size=128)
    exact = convert(tensors, settings).offsets
    half = convert(tensors | {FACTORS: tensors[FACTORS].astype(np.float16).astype(np.float32)}, settings).offsets
    assert np.mean(half != exact) > 0.01


def spoil(name: str, value: float, *index: int | slice) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name][index] = value

    return change


def replace_tensor(name: str, values: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name] = values(tensors[name])  # type: ignore[assignment]

    return change


def full_rate(factors: np.ndarray) -> np.ndarray:
    """Repeat every row's factors to the full rate, a layout that another client might send."""
    rates = VOICE.generator.rates
    return np.stack([np.repeat(row[: FRAMES * rate : rate], 120) for row, rate in zip(factors, rates, strict=True)])


BAD: dict[str, tuple[Callable[[Tensors], None], str]] = {
    "two missing": (
        lambda tensors: (tensors.pop(EXCITATION), tensors.pop(FACTORS), None)[2],
        "INPUT__0 and INPUT__2 missing, expected INPUT__0, INPUT__1 and INPUT__2: send all three",
    ),
    "excitation rank": (
        replace_tensor(EXCITATION, lambda x: x[None]),
        "INPUT__0 has shape [1, 1, 4800], expected [1, T * hop]",
    ),
    "too few features": (replace_tensor(FEATURES, lambda x: x[:40]), "INPUT__1 has shape [40, 40], expected [43, T]"),
    "features transposed": (replace_tensor(FEATURES, lambda x: x.T), "INPUT__1 has shape [40, 43], expected [43, T]"),
    "too few factors": (
        replace_tensor(FACTORS, lambda x: x[:3]),
        "INPUT__2 has shape [3, 4800], expected [4, T * hop]",
    ),
    "factors in FP16": (
        replace_tensor(FACTORS, lambda x: x.astype(np.float16)),
        "INPUT__2 has type float16, expected float32",
    ),
    "no frames": (replace_tensor(FEATURES, lambda x: x[:, :0]), "INPUT__1 has 0 frames, expected at least 1"),
    "too long": (
        replace_tensor(FEATURES, lambda x: np.zeros((43, 129), np.float32)),
        "INPUT__1 has 129 frames (0.6 s), expected at most 128",
    ),
    "excitation too short": (
        replace_tensor(EXCITATION, lambda x: x[:, :-1]),
        "INPUT__0 has 4799 samples, expected 4800: 120 for each of the 40 frames of INPUT__1",
    ),
    "factors too long": (
        replace_tensor(FACTORS, lambda x: np.pad(x, ((0, 0), (0, 120)))),
        "INPUT__2 has 4920 samples, expected 4800",
    ),
    "excitation not finite": (
        spoil(EXCITATION, np.nan, 0, 372),
        "INPUT__0 is nan at sample 372 (frame 3), expected finite samples (1 of 4800 are NaN or Inf)",
    ),
    "mcep not finite": (
        spoil(FEATURES, np.inf, 7, 12),
        "INPUT__1 (mcep) is inf at frame 12, coefficient 7, expected finite values (1 of 40 frames hold NaN or Inf)",
    ),
    "bap not finite": (
        spoil(FEATURES, np.nan, slice(41, 43), slice(9, 11)),
        "INPUT__1 (bap) is nan at frame 9, coefficient 1, expected finite values (2 of 40 frames hold NaN or Inf: "
        "frames 9-10): mend the analysis of these frames or set the input repair to true",
    ),
    "factor not finite": (spoil(FACTORS, np.nan, 1, 65), "INPUT__2 row 1 is nan at sample 65 (frame 3), expected a"),
    "factor infinite": (spoil(FACTORS, np.inf, 0, 2), "INPUT__2 row 0 is inf at sample 2 (frame 0), expected a"),
    "frame of infinite factors": (
        spoil(FACTORS, np.inf, 0, slice(5, 10)),
        "INPUT__2 row 0 is inf at sample 5 (frame 1), expected a",
    ),
    "factor zero": (spoil(FACTORS, 0.0, 3, slice(4680, 4800)), "INPUT__2 row 3 is 0 at sample 4680 (frame 39), exp"),
    "factor negative": (spoil(FACTORS, -1.0, 2, 60), "INPUT__2 row 2 is -1 at sample 60 (frame 1), expected a"),
    "factor changes within a frame": (
        spoil(FACTORS, 239.0, 0, 33),
        "INPUT__2 row 0 changes from 240 to 239 within frame 6 (sample 33), expected one dilation factor a frame: send "
        "the dilation factor of each frame 5 times in row 0, and zeros behind",
    ),
    "rows at the full rate": (
        replace_tensor(FACTORS, full_rate),
        "INPUT__2 row 0 is 240 at sample 200, expected zeros behind 40 frames of 5 samples",
    ),
    "rows swapped": (replace_tensor(FACTORS, lambda x: x[::-1].copy()), "INPUT__2 row 0 is 15 at sample 200, expected"),
    "f0 below the floor": (
        spoil(FACTORS, 48000.0 / 35.0, 0, slice(30, 35)),
        "INPUT__2 row 0 is 1371.43 at frame 6, an f0 of 35.00 Hz, below the engine's floor of 70 Hz: raise f0, so that "
        "row 0 is at most 685.71 or build with --f0-floor 35",
    ),
    "f0 below the floor in one row only": (
        spoil(FACTORS, 43.0, 3, slice(240, 360)),
        "INPUT__2 row 3 is 43.00 at frame 2, an f0 of 69.77 Hz, below the engine's floor of 70 Hz: raise f0, so that "
        "row 3 is at most 42.85 or build with --f0-floor 69",
    ),
    "absurd factor": (
        spoil(FACTORS, 3e38, 0, slice(0, 5)),
        "below the engine's floor of 70 Hz: raise f0, so that row 0 is at most 685.71",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_request_is_refused(case: str) -> None:
    change, message = BAD[case]
    tensors = older_tensors(request_of(np.full(FRAMES, 200.0, np.float32)), VOICE)
    convert(tensors)
    change(tensors)
    with pytest.raises(RequestError, match=re.escape(message)):
        convert(tensors)


def test_repair_mends_the_same_frames_as_through_the_features() -> None:
    request = request_of(np.full(FRAMES, 200.0, np.float32))
    tensors = older_tensors(request, VOICE)
    request.mcep[5, 3] = np.nan
    request.bap[20:23] = np.inf
    tensors[FEATURES][3, 5] = np.nan
    tensors[FEATURES][40:, 20:23] = np.inf
    reports: list[Repair] = []
    expected = preprocess(request.f0, request.mcep, request.bap, SETTINGS, repair=TRUE, report=reports.append)
    assert_same(convert(tensors, repair=TRUE, report=reports.append), expected)
    assert [report.count for report in reports] == [4, 4]
    assert str(reports[1]).endswith("INPUT__1 (mcep) at frame 5; INPUT__1 (bap) at frames 20-22")


def test_repair_leaves_the_other_tensors_to_the_client() -> None:
    tensors = older_tensors(request_of(np.full(FRAMES, 200.0, np.float32)), VOICE)
    tensors[EXCITATION][0, 5] = np.nan
    with pytest.raises(RequestError, match="the input repair mends INPUT__1 only"):
        convert(tensors, repair=TRUE)

"""Frames that hold NaN or Inf are named, or replaced by the nearest finite frame."""

from __future__ import annotations

import re

import numpy as np
import pytest

from preprocess import Repair, RequestError, Windows, preprocess
from preprocess.repair import bad_frames, finite, name_frames, repair
from tests.small_voice import random_features, small_settings, small_voice

VOICE = small_voice()[0]
SETTINGS = small_settings(VOICE)[0]
FRAMES = 50
TRUE, FALSE = np.ones(1, np.bool_), np.zeros(1, np.bool_)


def request() -> dict[str, np.ndarray]:
    mcep, bap = random_features(VOICE, FRAMES)
    return {"f0": np.linspace(420.0, 800.0, FRAMES, dtype=np.float32), "mcep": mcep, "bap": bap}


def spoilt(**frames: list[int]) -> dict[str, np.ndarray]:
    tensors = request()
    for name, bad in frames.items():
        tensors[name][bad] = np.nan
    return tensors


def same(a: Windows, b: Windows) -> bool:
    return all(np.array_equal(values, vars(b)[name]) for name, values in vars(a).items())


@pytest.mark.parametrize(
    ("frames", "name"),
    [
        pytest.param([7], "frame 7", id="one"),
        pytest.param([12, 40, 41, 42, 43], "frames 12, 40-43", id="run"),
        pytest.param([0, 1, 3], "frames 0-1, 3", id="pair"),
        pytest.param(list(range(100)), "frames 0-99", id="all"),
        pytest.param(list(range(0, 18, 2)), "frames 0, 2, 4, 6, 8, 10, 12, 14 and 1 more", id="long"),
    ],
)
def test_names_are_compact(frames: list[int], name: str) -> None:
    assert name_frames(np.array(frames)) == name


@pytest.mark.parametrize(
    ("bad", "sources"),
    [
        pytest.param([3], [2], id="tie-takes-the-earlier"),
        pytest.param([3, 4], [2, 5], id="both-sides"),
        pytest.param([0, 1], [2, 2], id="start"),
        pytest.param([8, 9], [7, 7], id="end"),
        pytest.param([2, 3, 4, 5, 6, 7, 8], [1, 1, 1, 1, 9, 9, 9], id="long-run"),
        pytest.param([0, 1, 2, 3, 5, 6, 7, 8, 9], [4] * 9, id="one-finite-frame"),
    ],
)
@pytest.mark.parametrize("width", [(), (5,)], ids=["T", "T-by-C"])
def test_the_nearest_finite_frame_is_taken(bad: list[int], sources: list[int], width: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal((10, *width)).astype(np.float32)
    broken = values.copy()
    broken.reshape(10, -1)[bad, -1] = [np.nan, np.inf, -np.inf, *[np.nan] * 6][: len(bad)]
    before = broken.copy()
    mended = repair({"x": broken})["x"]
    expected = values.copy()
    expected[bad] = values[sources]
    np.testing.assert_array_equal(mended, expected)
    np.testing.assert_array_equal(broken, before)  # not mutated
    assert bad_frames(mended).size == 0


def test_tensors_do_not_affect_each_other() -> None:
    tensors = spoilt(bap=[10, 11], f0=[30])
    reports: list[Repair] = []
    mended = repair(tensors, reports.append)
    assert mended["mcep"] is tensors["mcep"]
    np.testing.assert_array_equal(mended["f0"][30], tensors["f0"][29])
    assert str(reports[0]) == (
        "replaced 3 of 50 frames by the nearest finite ones: f0 at frame 30; bap at frames 10-11"
    )


def test_a_frame_counts_once() -> None:
    reports: list[Repair] = []
    repair(spoilt(f0=[5], mcep=[5, 6], bap=[5]), reports.append)
    assert [report.count for report in reports] == [2]


def test_finite_tensors_are_not_reported() -> None:
    reports: list[Repair] = []
    assert same(
        preprocess(**request(), settings=SETTINGS, repair=TRUE, report=reports.append),
        preprocess(**request(), settings=SETTINGS),
    )
    assert reports == []


@pytest.mark.parametrize("flag", [None, FALSE], ids=["absent", "false"])
def test_refused_unless_asked_for(flag: np.ndarray | None) -> None:
    message = (
        "mcep is nan at frame 12, coefficient 0, expected finite values (5 of 50 frames hold NaN or Inf: frames 12, "
        "40-43): mend the analysis of these frames or set the input repair to true"
    )
    with pytest.raises(RequestError, match=re.escape(message)):
        preprocess(**spoilt(mcep=[40, 41, 42, 43, 12]), settings=SETTINGS, repair=flag)


def test_repaired_request_is_the_request_with_the_neighbours_frames() -> None:
    expected = request()
    expected["f0"][[0, 20]] = expected["f0"][[1, 19]]
    expected["mcep"][[6, 7]] = expected["mcep"][[5, 8]]
    repaired = preprocess(**spoilt(f0=[0, 20], mcep=[6, 7]), settings=SETTINGS, repair=TRUE)
    assert same(repaired, preprocess(**expected, settings=SETTINGS))


def test_repaired_f0_is_checked_like_any_other() -> None:
    tensors = spoilt(f0=[9])
    tensors["f0"][8] = 100.0
    with pytest.raises(RequestError, match=r"f0 of 100\.00 Hz at frame 8 .* lies below the engine's floor"):
        preprocess(**tensors, settings=SETTINGS, repair=TRUE)


@pytest.mark.parametrize("name", ["f0", "mcep", "bap"])
def test_nothing_to_repair_from(name: str) -> None:
    with pytest.raises(RequestError, match=f"{name} holds NaN or Inf in every one of its 50 frames, expected at least"):
        preprocess(**spoilt(**{name: list(range(FRAMES))}), settings=SETTINGS, repair=TRUE)


def test_repair_is_one_value() -> None:
    with pytest.raises(RequestError, match=re.escape("repair has shape [2], expected [1]")):
        preprocess(**request(), settings=SETTINGS, repair=np.ones(2, np.bool_))


def test_finite_returns_what_it_was_given() -> None:
    tensors = request()
    assert finite(tensors, mend=False) is tensors

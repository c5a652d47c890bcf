"""What holds for every request: any length, any arrays. Derandomized: the same examples in every run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from benchmarks.older_interface import older_tensors
from preprocess import RequestError, Settings, Windows, preprocess, preprocess_tensors
from preprocess.older_tensors import EXCITATION, FACTORS, FEATURES
from preprocess.repair import repair
from preprocess.validate import LARGEST_DEVIATION
from preprocess.windows import split
from sifigan_triton.features.requests import Request
from tests.small_voice import random_features, small_settings, small_voice

VOICE = small_voice()[0]
SETTINGS = small_settings(VOICE, window=8, f0_floor=400.0)[0]
HOP = VOICE.hop_size
MOST = 40
"""Frames of the longest utterance that is drawn."""
EXAMPLES = settings(max_examples=100, derandomize=True, database=None, deadline=None)

DTYPES = [np.float32, np.float64, np.float16, np.int64, np.int32, np.uint8, np.bool_, np.complex64, np.object_]
VALUES = [
    np.nan,
    np.inf,
    -np.inf,
    -0.0,
    1e-45,
    -1e-45,
    1e-38,
    3.4e38,
    -3.4e38,
    1e20,
    399.0,
    400.0,
    11999.0,
    12000.0,
    -1.0,
]
WHOLE_VALUES = [-1, 0, 1, 2**63 - 1, -(2**63)]
Tensors = dict[str, npt.NDArray[Any] | None]


def request(frames: int) -> Tensors:
    mcep, bap = random_features(VOICE, frames)
    return {"f0": np.full(frames, 500.0, np.float32), "mcep": mcep, "bap": bap}


@st.composite
def strange(draw: st.DrawFn, right: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
    """Draw a tensor: as it was, with another value somewhere, of another type or shape, missing, or anything."""
    how = draw(st.sampled_from(["right", "value", "type", "shape", "missing", "any"]))
    if how == "missing":
        return None
    if how == "any" or right is None:
        return draw(arrays(np.float32, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)))
    if how == "type":
        with np.errstate(invalid="ignore", over="ignore"):
            return right.astype(draw(st.sampled_from(DTYPES)))
    if how == "shape":
        cut = draw(st.integers(0, right.size))
        return draw(
            st.sampled_from(
                [right[None], right[..., None], right.reshape(-1), right.reshape(-1)[:cut], right[:cut], right.T]
            )
        )
    changed = right.copy()
    if how == "value" and changed.size:
        values = VALUES if changed.dtype.kind == "f" else WHOLE_VALUES
        changed.reshape(-1)[draw(st.integers(0, changed.size - 1))] = draw(st.sampled_from(values))
    return changed


@st.composite
def requests(draw: st.DrawFn) -> Tensors:
    tensors = request(draw(st.integers(1, MOST)))
    optional = {"f0_factor": np.ones(1, np.float32), "seed": np.zeros(1, np.int64), "repair": np.ones(1, np.bool_)}
    spoilt = draw(st.sets(st.sampled_from([*tensors, *optional]), max_size=2))
    return {name: draw(strange(values)) if name in spoilt else values for name, values in (tensors | optional).items()}


def check(make: Callable[[], Windows], names: Iterable[str]) -> None:
    """Make windows: they are finite, or it is a `RequestError` that names a tensor."""
    message = ""
    try:
        windows = make()
    except RequestError as error:
        message = str(error)
    if message:
        assert any(name in message for name in names), message
        return
    assert windows.excitation.dtype == windows.features.dtype == np.float32
    assert np.isfinite(windows.excitation).all()
    assert np.abs(windows.features).max() <= LARGEST_DEVIATION  # NaN is not
    assert windows.offsets.dtype == windows.bounds.dtype == np.int32
    assert (windows.offsets >= 1).all()


@EXAMPLES
@given(requests())
def test_features_become_finite_windows_or_a_request_error(tensors: Tensors) -> None:
    before = {name: None if values is None else values.copy() for name, values in tensors.items()}
    check(lambda: preprocess(settings=SETTINGS, **tensors), tensors)  # type: ignore[arg-type]
    for name, values in tensors.items():
        np.testing.assert_array_equal(values, before[name])


@st.composite
def older_requests(draw: st.DrawFn) -> list[npt.NDArray[Any] | None]:
    features = request(draw(st.integers(1, MOST)))
    tensors = older_tensors(Request(**features), VOICE)  # type: ignore[arg-type]
    spoilt = draw(st.sets(st.sampled_from([EXCITATION, FEATURES, FACTORS]), max_size=2))
    return [
        draw(strange(tensors[name])) if name in spoilt else tensors[name] for name in (EXCITATION, FEATURES, FACTORS)
    ]


@EXAMPLES
@given(older_requests(), st.booleans())
def test_older_tensors_become_finite_windows_or_a_request_error(tensors: list[Any], mend: bool) -> None:
    names = (EXCITATION, FEATURES, FACTORS)
    check(lambda: preprocess_tensors(*tensors, SETTINGS, repair=np.array([mend])), names)


@EXAMPLES
@given(st.lists(st.floats(400.0, 11999.0, width=32), min_size=1, max_size=MOST))
def test_older_tensors_make_the_windows_of_the_features(f0: list[float]) -> None:
    features = Request(np.array(f0, np.float32), *random_features(VOICE, len(f0)))
    older = older_tensors(features, VOICE)
    made = preprocess_tensors(*(older[name] for name in (EXCITATION, FEATURES, FACTORS)), SETTINGS)
    for name, values in vars(preprocess(features.f0, features.mcep, features.bap, SETTINGS)).items():
        np.testing.assert_array_equal(values, getattr(made, name))


@EXAMPLES
@given(frames=st.integers(1, 300), window=st.integers(1, 64), halo=st.integers(0, 40))
def test_windows_tile_any_utterance(frames: int, window: int, halo: int) -> None:
    excitation = np.arange(1, frames * HOP + 1, dtype=np.float32)[None]
    features = np.arange(1, 2 * frames + 1, dtype=np.float32).reshape(2, frames)
    offsets = np.arange(2, frames + 2, dtype=np.int32)[None]
    windows = split(excitation, features, offsets, Settings(VOICE, window, halo, 100.0, max_batch_size=512))
    for whole, tiles in ((excitation, windows.excitation), (features, windows.features), (offsets, windows.offsets)):
        rate = whole.shape[1] // frames
        middles = tiles[:, :, halo * rate : (halo + window) * rate]
        np.testing.assert_array_equal(np.concatenate(list(middles), axis=1)[:, : frames * rate], whole)
    assert len(windows.bounds) == -(-frames // window)


@EXAMPLES
@given(
    arrays(np.float32, st.tuples(st.integers(1, MOST), st.integers(1, 3)), elements=st.floats(-1e3, 1e3, width=32)),
    st.data(),
)
def test_repair_takes_the_nearest_finite_frame(values: npt.NDArray[np.float32], data: st.DataObject) -> None:
    frames = len(values)
    bad = sorted(data.draw(st.sets(st.integers(0, frames - 1), max_size=frames - 1)))
    spoilt = values.copy()
    spoilt[bad, 0] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    given_values, reports = spoilt.copy(), []
    repaired = repair({"x": spoilt}, reports.append)["x"]
    np.testing.assert_array_equal(spoilt, given_values)
    good = [frame for frame in range(frames) if frame not in bad]
    nearest = [min(good, key=lambda other: (abs(other - frame), other)) for frame in range(frames)]
    np.testing.assert_array_equal(repaired, values[nearest])
    assert [report.count for report in reports] == ([len(bad)] if bad else [])

"""Every bad request is refused with the tensor, what was expected, what was got, the frame and the fix."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from preprocess import RequestError, preprocess
from preprocess.f0 import lowest_f0
from preprocess.validate import check_f0, check_f0_factor, check_seed
from tests.small_voice import small_settings, small_voice

SETTINGS = replace(small_settings(small_voice()[0])[0], f0_floor=70.0, max_batch_size=4)
FRAMES = 20


def request(**changes: Any) -> dict[str, Any]:
    tensors = {
        "f0": np.full(FRAMES, 200.0, np.float32),
        "mcep": np.zeros((FRAMES, 40), np.float32),
        "bap": np.zeros((FRAMES, 3), np.float32),
    }
    return tensors | changes


def changed(name: str, where: tuple[int, ...], value: float) -> dict[str, Any]:
    tensors = request()
    tensors[name][where] = value
    return tensors


def frames(count: int) -> dict[str, Any]:
    return {
        "f0": np.full(count, 200.0, np.float32),
        "mcep": np.zeros((count, 40), np.float32),
        "bap": np.zeros((count, 3), np.float32),
    }


F32, F64 = np.float32, np.float64


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        pytest.param(request(f0=np.ones((20, 1), F32)), "f0 has shape [20, 1], expected [T]", id="f0-rank"),
        pytest.param(request(f0=np.float32(1.0)), "f0 has shape [], expected [T]", id="f0-scalar"),
        pytest.param(request(mcep=np.ones(20, F32)), "mcep has shape [20], expected [T, 40]", id="mcep-rank"),
        pytest.param(
            request(mcep=np.ones((20, 25), F32)), "mcep has shape [20, 25], expected [T, 40]", id="mcep-width"
        ),
        pytest.param(request(bap=np.ones((20, 5), F32)), "bap has shape [20, 5], expected [T, 3]", id="bap-width"),
        pytest.param(request(bap=np.ones((1, 20, 3), F32)), "bap has shape [1, 20, 3], expected [T, 3]", id="bap-rank"),
        pytest.param(request(f0=np.full(20, 200.0)), "f0 has type float64, expected float32", id="f0-type"),
        pytest.param(request(mcep=np.zeros((20, 40))), "mcep has type float64, expected float32", id="mcep-type"),
        pytest.param(request(bap=np.zeros((20, 3), int)), "bap has type int64, expected float32", id="bap-type"),
        pytest.param(
            request(f0=None, mcep=None, bap=None),
            "f0 and mcep and bap missing, expected f0, mcep and bap: send all three",
            id="nothing",
        ),
        pytest.param(request(mcep=None), "mcep missing, expected f0, mcep and bap", id="mcep-missing"),
        pytest.param(frames(0), "f0 has 0 frames, expected at least 1: send one value for each frame", id="empty"),
        pytest.param(
            request(mcep=np.zeros((19, 40), F32)),
            "mcep has 19 frames, expected 20 as in f0: cut or extend",
            id="mcep-length",
        ),
        pytest.param(
            request(bap=np.zeros((21, 3), F32)),
            "bap has 21 frames, expected 20 as in f0: cut or extend",
            id="bap-length",
        ),
        pytest.param(
            frames(129),
            "f0 has 129 frames (0.6 s), expected at most 128 (0.6 s: 4 windows of 32 frames): "
            "split the utterance at a pause or build with a larger --max-batch",
            id="too-long",
        ),
        pytest.param(changed("f0", (7,), np.nan), "f0 is nan at frame 7, expected finite values (1 of 20", id="f0-nan"),
        pytest.param(
            changed("mcep", (5, 12), np.inf),
            "mcep is inf at frame 5, coefficient 12, expected finite values (1 of 20 frames hold NaN or Inf): mend",
            id="mcep-inf",
        ),
        pytest.param(changed("bap", (19, 2), -np.inf), "bap is -inf at frame 19, coefficient 2", id="bap-inf"),
        pytest.param(
            changed("f0", (3,), -1.5),
            "f0 is -1.5 Hz at frame 3, expected 0 (unvoiced) or a positive frequency",
            id="f0-negative",
        ),
        pytest.param(changed("f0", (4,), 60.0), "60.00 Hz at frame 4", id="f0-low-frame"),
        pytest.param(changed("f0", (4,), 60.0), "below the engine's floor of 70 Hz", id="f0-low-expected"),
        pytest.param(
            changed("f0", (4,), 60.0), "raise f0_factor to at least 1.1667 or build with --f0-floor 60", id="f0-low-fix"
        ),
        pytest.param(
            changed("f0", (2,), 12500.0), "expected less than half the sample rate, 12000 Hz: lower f0", id="f0-high"
        ),
        pytest.param(
            request(f0_factor=np.zeros(1, F32)), "f0_factor is 0, expected a finite number above 0", id="zero"
        ),
        pytest.param(request(f0_factor=np.full(1, -2.0, F32)), "f0_factor is -2, expected a finite", id="negative"),
        pytest.param(request(f0_factor=np.full(1, np.nan, F32)), "f0_factor is nan, expected a finite", id="nan"),
        pytest.param(request(f0_factor=np.ones(2, F32)), "f0_factor has shape [2], expected [1]", id="two-factors"),
        pytest.param(
            request(f0_factor=np.ones(1)), "f0_factor has type float64, expected float32", id="f0_factor-type"
        ),
        pytest.param(request(seed=np.zeros(1, F32)), "seed has type float32, expected int64", id="seed-type"),
        pytest.param(request(seed=np.array([-1])), "seed is -1, expected an integer of at least 0", id="seed"),
        pytest.param(request(seed=np.zeros(0, int)), "seed has shape [0], expected [1]", id="no-seed"),
    ],
)
def test_bad_request_is_refused(tensors: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        preprocess(settings=SETTINGS, **tensors)


@pytest.mark.parametrize(
    "tensors",
    [
        pytest.param(frames(1), id="one-frame"),
        pytest.param(frames(128), id="longest"),
        pytest.param(request(f0=np.zeros(20, F32)), id="all-unvoiced"),
        pytest.param(request(f0=np.full(20, -0.0, F32)), id="negative-zero"),
        pytest.param(request(f0=np.full(20, 70.0, F32)), id="at-the-floor"),
        pytest.param(request(f0=np.full(20, 11999.0, F32)), id="just-below-half-the-rate"),
        pytest.param(request(seed=np.array([2**63 - 1])), id="largest-seed"),
        pytest.param(request(f0_factor=None, seed=None), id="no-options"),
    ],
)
def test_good_request_is_accepted(tensors: dict[str, Any]) -> None:
    windows = preprocess(settings=SETTINGS, **tensors)
    assert windows.bounds[0, 1] - windows.bounds[0, 0] == tensors["f0"].size


def test_first_bad_frame_is_named() -> None:
    tensors = request()
    tensors["mcep"][[11, 6, 15], 3] = np.nan
    with pytest.raises(RequestError, match=r"frame 6, coefficient 3, .*\(3 of 20 frames"):
        preprocess(settings=SETTINGS, **tensors)


@pytest.mark.parametrize("floor", [70.0, 71.3, 33.3])
def test_a_floor_that_fp32_rounds_down_is_admitted(floor: float) -> None:
    check_f0(np.array([np.float32(floor)], F64), 1.0, replace(SETTINGS, f0_floor=floor))


@pytest.mark.parametrize("hertz", [63.3, 50.0, 69.9999, 12.345])
def test_the_advised_factor_is_enough(hertz: float) -> None:
    f0 = np.array([100.0, hertz, 68.0])
    with pytest.raises(RequestError, match="raise f0_factor") as refusal:
        check_f0(f0, 1.0, SETTINGS)
    advice = re.search(r"f0_factor to at least ([0-9.]+)", str(refusal.value))
    assert advice is not None
    check_f0(f0, float(advice[1]), SETTINGS)


def test_floor_applies_behind_the_factor() -> None:
    f0 = np.array([0.0, 140.0, 100.0])
    check_f0(f0, 0.7, SETTINGS)
    with pytest.raises(RequestError, match=r"of 60.00 Hz at frame 2 \(f0 100.00 Hz times f0_factor 0.6\)"):
        check_f0(f0, 0.6, SETTINGS)


def test_lowest_f0_is_one_rounding_below_the_floor() -> None:
    assert 70.0 * (1.0 - 2.0**-22) < lowest_f0(70.0) < 70.0


def test_values_of_the_options() -> None:
    assert (check_f0_factor(None), check_seed(None)) == (1.0, 0)
    assert check_f0_factor(np.array([1.25], F32)) == 1.25
    assert check_seed(np.array([41])) == 41

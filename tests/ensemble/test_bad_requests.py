"""Each bad request gets one clear error, over HTTP and gRPC, and the next good one works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from preprocess import Voice
from tests.conftest import DEMO, Deployment
from tests.small_voice import random_features

pytestmark = pytest.mark.server

T = 40
VOICE = Voice.load(DEMO / "voice.json")
Tensors = dict[str, npt.NDArray[Any]]
LEFT_OUT = np.empty(0)
"""Stands for a tensor that is not sent."""


def good() -> Tensors:
    mcep, bap = random_features(VOICE, T)
    return {
        "f0": np.full(T, 200.0, np.float32),
        "mcep": mcep,
        "bap": bap,
        "f0_factor": np.ones(1, np.float32),
        "seed": np.zeros(1, np.int64),
    }


def spoilt(name: str, index: tuple[int, ...], value: float) -> Tensors:
    tensors = good()
    tensors[name][index] = value
    return tensors


BAD: dict[str, tuple[Tensors, str]] = {
    "f0 of rank 2": ({"f0": np.ones((T, 1), np.float32)}, r"'f0'.*Expected \[-1\], got \[40,1\]"),
    "mcep of rank 1": ({"mcep": np.ones(T * 40, np.float32)}, r"'mcep'.*Expected \[-1,40\], got \[1600\]"),
    "mcep too narrow": ({"mcep": np.ones((T, 39), np.float32)}, r"'mcep'.*Expected \[-1,40\], got \[40,39\]"),
    "bap too wide": ({"bap": np.ones((T, 4), np.float32)}, r"'bap'.*Expected \[-1,3\], got \[40,4\]"),
    "f0 in FP64": ({"f0": np.ones(T)}, r"'f0'.*'FP64'.*expects 'FP32'"),
    "mcep in FP16": ({"mcep": np.ones((T, 40), np.float16)}, r"'mcep'.*'FP16'.*expects 'FP32'"),
    "seed in INT32": ({"seed": np.zeros(1, np.int32)}, r"'seed'.*'INT32'.*expects 'INT64'"),
    "two factors": ({"f0_factor": np.ones(2, np.float32)}, r"'f0_factor'.*Expected \[1\], got \[2\]"),
    "no frames": (
        {"f0": np.ones(0, np.float32), "mcep": np.ones((0, 40), np.float32), "bap": np.ones((0, 3), np.float32)},
        r"f0 has 0 frames, expected at least 1",
    ),
    "mcep longer than f0": ({"mcep": np.ones((T + 1, 40), np.float32)}, r"mcep has 41 frames, expected 40 as in f0"),
    "bap shorter than f0": ({"bap": np.ones((T - 1, 3), np.float32)}, r"bap has 39 frames, expected 40 as in f0"),
    "NaN in f0": (spoilt("f0", (7,), np.nan), r"f0 is nan at frame 7, expected finite"),
    "Inf in f0": (spoilt("f0", (8,), np.inf), r"f0 is inf at frame 8, expected finite"),
    "NaN in mcep": (spoilt("mcep", (9, 3), np.nan), r"mcep is nan at frame 9, coefficient 3, expected finite"),
    "-Inf in bap": (spoilt("bap", (39, 2), -np.inf), r"bap is -inf at frame 39, coefficient 2, expected finite"),
    "negative f0": (spoilt("f0", (5,), -110.0), r"f0 is -110 Hz at frame 5, expected 0 \(unvoiced\) or a positive"),
    "f0 below the floor": (
        spoilt("f0", (6,), 50.0),
        r"50\.00 Hz at frame 6 .* floor of 100 Hz: raise f0_factor to at least 2\.0000 or build with --f0-floor 50",
    ),
    "f0_factor takes f0 below the floor": (
        {"f0_factor": np.full(1, 0.25, np.float32)},
        r"50\.00 Hz at frame 0 \(f0 200\.00 Hz times f0_factor 0\.25\) lies below",
    ),
    "f0 above half the sample rate": (spoilt("f0", (4,), 12000.0), r"12000\.00 Hz at frame 4 .* less than half"),
    "f0_factor 0": ({"f0_factor": np.zeros(1, np.float32)}, r"f0_factor is 0, expected a finite number above 0"),
    "f0_factor negative": ({"f0_factor": np.full(1, -1.0, np.float32)}, r"f0_factor is -1, expected a finite number"),
    "f0_factor NaN": ({"f0_factor": np.full(1, np.nan, np.float32)}, r"f0_factor is nan, expected a finite number"),
    "negative seed": ({"seed": np.full(1, -1, np.int64)}, r"seed is -1, expected an integer of at least 0"),
    "too long": (
        {
            "f0": np.full(128 * 128 + 1, 200.0, np.float32),
            "mcep": np.zeros((128 * 128 + 1, 40), np.float32),
            "bap": np.zeros((128 * 128 + 1, 3), np.float32),
        },
        r"f0 has 16385 frames \(81\.9 s\), expected at most 16384 \(81\.9 s: 128 windows of 128 frames\)",
    ),
    "no frames and no options": (
        {
            "f0": np.ones(0, np.float32),
            "mcep": np.ones((0, 40), np.float32),
            "bap": np.ones((0, 3), np.float32),
            "f0_factor": LEFT_OUT,
            "seed": LEFT_OUT,
        },
        r"f0 has 0 frames, expected at least 1",
    ),
    "mcep of 100": (
        {"mcep": np.full((T, 40), 100.0, np.float32)},
        r"mcep is 100 at frame 0, coefficient 1: \S+ standard deviations .* at most 50 \(40 of 40 frames",
    ),
    "mcep of 1e30": (spoilt("mcep", (5, 7), 1e30), r"mcep is 1e\+30 at frame 5, coefficient 7: .* expected at most 50"),
    "mcep of 1e37": (spoilt("mcep", (5, 7), 1e37), r"mcep is 1e\+37 at frame 5, coefficient 7: .* expected at most 50"),
    "bap of -1000": (spoilt("bap", (6, 2), -1e3), r"bap is -1000 at frame 6, coefficient 2: .* expected at most 50"),
    "f0 missing": ({"f0": LEFT_OUT}, r"f0 missing, expected f0, mcep and bap"),
    "mcep and bap missing": ({"mcep": LEFT_OUT, "bap": LEFT_OUT}, r"mcep and bap missing, expected"),
}


@pytest.fixture(params=["http", "grpc"])
def connection(request: pytest.FixtureRequest, small_deployment: Deployment) -> Iterator[tuple[Any, Any]]:
    api = tritonclient.http if request.param == "http" else tritonclient.grpc
    server = small_deployment.server
    client = api.InferenceServerClient(server.http_url if request.param == "http" else server.grpc_url)
    yield api, client
    client.close()


def infer(
    connection: tuple[Any, Any], tensors: Tensors, model: str = "sifigan", output: str = "waveform"
) -> npt.NDArray[np.float32]:
    api, client = connection
    inputs = []
    for name, values in tensors.items():
        tensor = api.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    waveform: npt.NDArray[np.float32] = client.infer(model, inputs).as_numpy(output)
    return waveform


@pytest.mark.parametrize("case", BAD)
def test_bad_request(connection: tuple[Any, Any], case: str) -> None:
    changed, message = BAD[case]
    tensors = {name: values for name, values in (good() | changed).items() if values is not LEFT_OUT}
    with pytest.raises(InferenceServerException) as raised:
        infer(connection, tensors)
    assert re.search(message, str(raised.value)), str(raised.value)
    assert "Traceback" not in str(raised.value)
    waveform = infer(connection, good())
    assert waveform.shape == (T * 120,)
    assert np.isfinite(waveform).all()


WINDOWS = np.zeros((2, 1, 480), np.float32)
BAD_WINDOWS: dict[str, tuple[Tensors, str]] = {
    "samples -5": ({"samples": np.array([-5])}, r"samples is -5, expected 1 to 960"),
    "samples 0": ({"samples": np.array([0])}, r"samples is 0, expected 1 to 960"),
    "one sample too many": ({"samples": np.array([961])}, r"samples is 961, expected 1 to 960"),
    "samples 2^62": ({"samples": np.array([2**62])}, r"samples is 4611686018427387904, expected 1 to 960"),
    "no windows": ({"windows": WINDOWS[:0]}, r"samples is 960, expected 1 to 0"),
    "no deadline": ({"deadline": np.zeros((0, 1), np.int64)}, r"deadline has shape \[0, 1\], expected \[2, 1\]"),
    "three deadlines": ({"deadline": np.zeros((3, 1), np.int64)}, r"deadline has shape \[3, 1\], expected \[2, 1\]"),
    "NaN": (
        {"windows": np.full((2, 1, 480), np.nan, np.float32)},
        r"waveform is nan at frame 0 \(sample 0\), expected",
    ),
    "-Inf": ({"windows": np.full((2, 1, 480), -np.inf, np.float32)}, r"waveform is -inf at frame 0 .* \(960 of 960"),
}


@pytest.mark.parametrize("case", BAD_WINDOWS)
@pytest.mark.parametrize("output", ["waveform", "pcm16"])
def test_postprocess_checks_what_it_is_given(connection: tuple[Any, Any], case: str, output: str) -> None:
    changed, message = BAD_WINDOWS[case]
    tensors = {"windows": WINDOWS, "samples": np.array([960])}
    with pytest.raises(InferenceServerException, match=message) as raised:
        infer(connection, tensors | changed, "postprocess", output)
    assert "At:" not in str(raised.value)  # where the Python backend puts paths
    assert infer(connection, tensors, "postprocess", output).shape == (960,)

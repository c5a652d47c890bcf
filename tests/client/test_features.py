"""What the client says of features before the server sees them, and of the server's words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sifigan_triton.client import FeaturesError, SifiganClient, SynthesisError
from sifigan_triton.client.features import explain_refusal, request_tensors
from tests.conftest import Deployment

F0, MCEP, BAP = np.full(300, 200.0), np.zeros((300, 40), np.float32), np.zeros((300, 3), np.float32)
WRONG = {
    "mcep transposed": (
        F0,
        MCEP.T,
        BAP,
        r"mcep has 40 frames, expected 300 .*\(40, 300\).* transposed\? pass mcep\.T$",
    ),
    "bap transposed": (F0, MCEP, BAP.T, r"bap has 3 frames, expected 300 .*\(3, 300\).* transposed\? pass bap\.T$"),
    "frames": (F0, MCEP[:-1], BAP, r"mcep has 299 frames, expected 300 as in f0 .*\(300, coefficients\)\)$"),
    "mcep flat": (F0, F0, BAP, r"mcep has shape \(300,\), expected \(300, coefficients\), frames as in f0$"),
    "batch axis": (F0, MCEP, BAP[None], r"bap has shape \(1, 300, 3\), expected \(300, bands\).*: pass bap\[0\]$"),
    "f0 column": (F0[:, None], MCEP, BAP, r"f0 has shape \(300, 1\), expected \(frames,\): pass f0\.reshape\(-1\)$"),
    "f0 of two axes": (MCEP, MCEP, BAP, r"f0 has shape \(300, 40\), expected \(frames,\)$"),
    "f0 one number": (200.0, MCEP, BAP, r"f0 has shape \(\), expected \(frames,\)$"),
    "ragged": ([1.0, 2.0], [[1.0], [1.0, 2.0]], BAP, "mcep is no array of numbers: .*inhomogeneous"),
    "text": (F0, MCEP.astype(str), BAP, "mcep has dtype <U32, expected real numbers, such as float32$"),
    "complex": (F0, MCEP, BAP.astype(complex), "bap has dtype complex128, expected real numbers"),
    "objects": (F0.astype(object), MCEP, BAP, "f0 has dtype object, expected real numbers"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_what_cannot_be_right_is_told_without_a_server(case: tuple[Any, Any, Any, str]) -> None:
    *features, message = case
    with SifiganClient("127.0.0.1:1") as client, pytest.raises(FeaturesError, match=message) as caught:
        client.synthesize(*features)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, SynthesisError)


def test_tensors_have_the_servers_types_and_are_contiguous() -> None:
    tensors = request_tensors([1, 2], np.ones((3, 2), np.float64).T, np.ones((4, 1), np.int16)[::2], 2, 3, True)
    assert {name: (x.dtype.name, x.shape) for name, x in tensors.items()} == {
        "f0": ("float32", (2,)),
        "mcep": ("float32", (2, 3)),
        "bap": ("float32", (2, 1)),
        "f0_factor": ("float32", (1,)),
        "seed": ("int64", (1,)),
        "repair": ("bool", (1,)),
    }
    assert all(values.flags.c_contiguous for values in tensors.values())


@pytest.mark.server
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_width_of_another_voice_names_the_option(small_deployment: Deployment, protocol: str) -> None:
    with SifiganClient(small_deployment.urls[protocol]) as client:
        with pytest.raises(FeaturesError, match=r"^mcep has 60 coefficients a frame.* takes 40: analyse .* `--voice`"):
            client.synthesize(F0, np.zeros((300, 60)), BAP)
        with pytest.raises(FeaturesError, match=r"^bap has 5 coefficients a frame.* takes 3: analyse .* `--voice`"):
            client.synthesize(F0, MCEP, np.zeros((300, 5)))


def test_other_refusals_stay_the_servers() -> None:
    refusal = SynthesisError("f0 of 20.0 Hz at frame 3")
    assert explain_refusal(refusal) is refusal

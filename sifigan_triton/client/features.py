"""The tensors of a request: what a caller may hand over, checked as far as that is possible without the server."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from sifigan_triton.client.errors import FeaturesError, SynthesisError

_WRONG_WIDTH = re.compile(r"unexpected shape for input '(\w+)'.*Expected \[-1,(\d+)\], got \[\d+,(\d+)\]", re.DOTALL)
"""What Triton says to a voice with another number of coefficients."""


def request_tensors(
    f0: npt.ArrayLike, mcep: npt.ArrayLike, bap: npt.ArrayLike, f0_factor: float, seed: int, repair: bool
) -> dict[str, npt.NDArray[Any]]:
    """Return a request's tensors by name, contiguous, in the server's types.

    The number of coefficients is the served voice's and the values are the server's to judge; neither is checked here.

    Args:
        f0: (T,) in Hz.
        mcep: (T, coefficients).
        bap: (T, bands) in dB.
        f0_factor: factor on `f0`.
        seed: seed of the excitation's noise.
        repair: whether the server may replace frames that are not finite.

    Raises:
        FeaturesError: if a tensor is not numeric, or its shape cannot be right.

    """
    tensors = {name: _numbers(name, values) for name, values in (("f0", f0), ("mcep", mcep), ("bap", bap))}
    _check_f0(tensors["f0"])
    for name in ("mcep", "bap"):
        _check_frames(name, tensors[name], tensors["f0"].size)
    return {
        **{name: np.ascontiguousarray(values, np.float32) for name, values in tensors.items()},
        "f0_factor": np.array([f0_factor], np.float32),
        "seed": np.array([seed], np.int64),
        "repair": np.array([repair], np.bool_),
    }


def explain_refusal(refusal: SynthesisError) -> SynthesisError:
    """Return the error that says what to do where the server's voice has another number of coefficients."""
    found = _WRONG_WIDTH.search(str(refusal))
    if found is None:
        return refusal
    name, expected, got = found.groups()
    return FeaturesError(
        f"{name} has {got} coefficients a frame, the voice that is served takes {expected}: analyse with this voice's "
        f"settings (on the command line `--voice` and its folder). The server says: {refusal}"
    )


def _numbers(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise FeaturesError(f"{name} is no array of numbers: {error}") from None
    if array.dtype.kind not in "fiu":
        raise FeaturesError(f"{name} has dtype {array.dtype}, expected real numbers, such as float32")
    return array


def _check_f0(f0: npt.NDArray[Any]) -> None:
    if f0.ndim != 1:
        fix = ": pass f0.reshape(-1)" if f0.ndim and f0.size == max(f0.shape) else ""
        raise FeaturesError(f"f0 has shape {f0.shape}, expected (frames,){fix}")


def _check_frames(name: str, values: npt.NDArray[Any], frames: int) -> None:
    expected = f"({frames}, {'coefficients' if name == 'mcep' else 'bands'})"
    if values.ndim != 2:
        fix = f": pass {name}[0]" if values.ndim == 3 and values.shape[0] == 1 else ""
        raise FeaturesError(f"{name} has shape {values.shape}, expected {expected}, frames as in f0{fix}")
    if values.shape[0] != frames:
        fix = f": transposed? pass {name}.T" if values.shape[1] == frames else ""
        raise FeaturesError(
            f"{name} has {values.shape[0]} frames, expected {frames} as in f0 (shape {values.shape}, expected "
            f"{expected}){fix}"
        )

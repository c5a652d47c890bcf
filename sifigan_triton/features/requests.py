"""Requests: those of `measurement_data/`, in perf_analyzer's JSON format."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocess.f0 import raise_to_floor
from sifigan_triton.files import project_file

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Request:
    """Features of one utterance: f0 (T,) in Hz, mcep (T, 40), bap (T, 3) in dB, float32."""

    f0: Array
    mcep: Array
    bap: Array

    def first(self, frames: int) -> Request:
        """Return the first `frames` frames."""
        return Request(self.f0[:frames], self.mcep[:frames], self.bap[:frames])

    def raised_to(self, f0_floor: float) -> Request:
        """Return the request with F0 below `f0_floor` Hz raised to it, so that engines of that floor take it."""
        return replace(self, f0=raise_to_floor(self.f0, f0_floor))


def measurement_file(name: str) -> Path:
    """Return where a file of `measurement_data/` is, in a checkout or in an installed package."""
    return project_file(f"measurement_data/{name}")


def read_requests(path: Path) -> list[Request]:
    """Read the requests of a file.

    Raises:
        ValueError: naming the file, if it holds no such requests.
        OSError: if it cannot be read.

    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["data"]
        return [Request(*(_decode(entry[name]) for name in ("f0", "mcep", "bap"))) for entry in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} holds no requests of the form "
            f'{{"data": [{{"f0": {{"content": {{"b64": ...}}, "shape": [T]}}, ...}}]}}: {error!r}'
        ) from None


def encode_tensor(values: npt.NDArray[Any]) -> dict[str, Any]:
    """Return a tensor as perf_analyzer's JSON format holds it: base64 of its little-endian values, and its shape."""
    content = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return {"content": {"b64": base64.b64encode(content).decode("ascii")}, "shape": list(values.shape)}


def _decode(tensor: dict[str, dict[str, str]]) -> Array:
    values = np.frombuffer(base64.b64decode(tensor["content"]["b64"]), "<f4")
    return values.reshape(tuple(map(int, tensor["shape"])))

"""Requests: those of `measurement_data/`, in perf_analyzer's JSON format."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocess.f0 import raise_to_floor
from sifigan_triton.files import project_file, read_at_most

MAX_BYTES = 2**26
"""Largest file of requests, in bytes: more than an hour of features. JSON takes some twenty times of it in memory."""

MAX_REQUESTS = 10000
"""Most requests of a file."""

Array = npt.NDArray[np.float32]


RANKS = {"f0": 1, "mcep": 2, "bap": 2}
"""Rank of each tensor."""


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
        entries = json.loads(read_at_most(path, MAX_BYTES))["data"]
        if not isinstance(entries, list) or len(entries) > MAX_REQUESTS:
            raise ValueError(f"'data' is no list of at most {MAX_REQUESTS:,} requests")
        return [_request(index, entry) for index, entry in enumerate(entries)]
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{path} holds no requests of the form "
            f'{{"data": [{{"f0": {{"content": {{"b64": ...}}, "shape": [T]}}, ...}}]}}: {repr(error)[:200]}'
        ) from None


def encode_tensor(values: npt.NDArray[Any]) -> dict[str, Any]:
    """Return a tensor as perf_analyzer's JSON format holds it: base64 of its little-endian values, and its shape."""
    content = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return {"content": {"b64": base64.b64encode(content).decode("ascii")}, "shape": list(values.shape)}


def _request(index: int, entry: dict[str, Any]) -> Request:
    """Decode an entry; its tensors must have as many frames."""
    request = Request(*(_decode(f"data[{index}].{name}", entry[name], rank) for name, rank in RANKS.items()))
    if not len(request.f0) == len(request.mcep) == len(request.bap):
        raise ValueError(f"data[{index}]: f0, mcep and bap have different numbers of frames")
    return request


def _decode(key: str, tensor: dict[str, Any], rank: int) -> Array:
    values = np.frombuffer(base64.b64decode(tensor["content"]["b64"]), "<f4")
    shape = tensor["shape"]
    if not isinstance(shape, list) or len(shape) != rank:
        raise ValueError(f"{key}.shape is no list of {rank} numbers")
    sizes = tuple(map(int, shape))
    if min(sizes) < 1 or prod(sizes) != len(values):
        raise ValueError(f"{key} has {len(values):,} values, expected a shape of positive numbers with as many")
    return values.reshape(sizes)

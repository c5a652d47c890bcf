"""Requests: those of `measurement_data/`, in perf_analyzer's JSON format, and feature files."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocess import Voice
from preprocess.f0 import raise_to_floor
from sifigan_triton.features.features import Features
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


def read_request_files(paths: Sequence[Path], voice: Voice) -> list[Request]:
    """Read requests from perf_analyzer's JSON files and from feature files (`.npz`).

    Raises:
        ValueError: naming the file, if it cannot be read or holds no requests for this voice.

    """
    requests: list[Request] = []
    for file in paths:
        try:
            found = [_read_features(file, voice)] if file.suffix == ".npz" else read_requests(file)
        except OSError as error:
            raise ValueError(
                f"{file}: {error.strerror}: name files of requests with --lengths, perf_analyzer's JSON or .npz"
            ) from None
        if not found or min(request.f0.size for request in found) == 0:
            fault = "a request has 0 frames" if found else "holds no requests"
            raise ValueError(f"{file}: {fault}, expected requests of at least 1 frame: leave it out of --lengths")
        requests += found
    return requests


def _read_features(file: Path, voice: Voice) -> Request:
    features = Features.load(file)
    if not np.isclose(features.frame_period_ms, voice.frame_period_ms):
        raise ValueError(
            f"{file}: a frame lasts {features.frame_period_ms:g} ms, expected {voice.frame_period_ms:g} ms as in the "
            "voice: analyse the recording for this voice"
        )
    return Request(features.f0, features.mcep, features.bap)


def encode_tensor(values: npt.NDArray[Any]) -> dict[str, Any]:
    """Return a tensor as perf_analyzer's JSON format holds it: base64 of its little-endian values, and its shape."""
    content = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return {"content": {"b64": base64.b64encode(content).decode("ascii")}, "shape": list(values.shape)}


def _decode(tensor: dict[str, dict[str, str]]) -> Array:
    values = np.frombuffer(base64.b64decode(tensor["content"]["b64"]), "<f4")
    return values.reshape(tuple(map(int, tensor["shape"])))

"""What is asked for in a benchmark: files of requests as they are, or requests cut from a recording's features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.f0 import raise_to_floor
from sifigan_triton.features.requests import Request, encode_tensor, read_requests
from sifigan_triton.files import write_file


@dataclass(frozen=True)
class Workload:
    """Requests that are sent in turn, in a file that perf_analyzer reads."""

    name: str
    path: Path
    frames: tuple[int, ...]
    """Frames of each request."""

    @classmethod
    def read(cls, path: Path) -> Workload:
        """Take the requests of a measurement file as they are.

        Raises:
            ValueError: naming the file and the entry, if it holds no requests with an `f0`.
            OSError: if it cannot be read.

        """
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))["data"]
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{path} is missing: benchmarks/make_measurement_data.py writes the measurement data"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no measurement file, expected {{'data': [...]}}: {error!r}") from None
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"{path} has no entries under 'data', expected at least one request")
        frames = tuple(_frames(entry, f"{path}, entry {index}") for index, entry in enumerate(entries))
        return cls(path.stem, path, frames)

    @classmethod
    def cut(cls, folder: Path, source: Request, lengths: Sequence[int], f0_floor: float) -> Workload:
        """Cut requests of these lengths from a recording, which is repeated as often as needed.

        Args:
            folder: where to write their file.
            source: features of the recording.
            lengths: frames of each request.
            f0_floor: lowest F0 in Hz that the engine takes; voiced frames below are raised to it.

        Raises:
            ValueError: if a length is not above 0.

        """
        if not lengths or min(lengths) < 1:
            raise ValueError(f"lengths are {list(lengths)}, expected at least one, each at least 1 frame")
        entries = []
        for frames in lengths:
            f0, mcep, bap = (
                np.take(values, np.arange(frames), axis=0, mode="wrap") for values in vars(source).values()
            )
            raised = raise_to_floor(f0, f0_floor)
            entries.append({name: encode_tensor(x) for name, x in (("f0", raised), ("mcep", mcep), ("bap", bap))})
        name = str(lengths[0]) if len(lengths) == 1 else "mixed"
        path = folder / f"{name}-floor-{f0_floor:g}.json"
        write_file(path, json.dumps({"data": entries}).encode("ascii"))
        return cls(name, path, tuple(lengths))

    @cached_property
    def requests(self) -> tuple[Request, ...]:
        """Features of each request, for whoever sends or computes them without perf_analyzer.

        Raises:
            ValueError: naming the file, if it holds other tensors.

        """
        return tuple(read_requests(self.path))

    @property
    def mean_frames(self) -> float:
        """Frames of a request, on average."""
        return sum(self.frames) / len(self.frames)


def _frames(entry: Any, where: str) -> int:
    """Return the number of frames of one request: its `f0` is a flat list, or an object with a `shape`."""
    f0 = entry.get("f0") if isinstance(entry, dict) else None
    if isinstance(f0, dict):
        shape = f0.get("shape")
        if isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int) and shape[0] > 0:
            return shape[0]
        raise ValueError(f"{where}: f0 has the shape {shape!r}, expected [frames]")
    if isinstance(f0, list) and f0:
        return len(f0)
    raise ValueError(f"{where}: no f0, expected {{'content': ..., 'shape': [frames]}} or a list of numbers")

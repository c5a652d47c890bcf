"""What is asked for in a benchmark: requests of one length or of several, cut from a real recording's features."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocess.f0 import raise_to_floor
from sifigan_triton.features.requests import Request


@dataclass(frozen=True, eq=False)
class Workload:
    """Requests that are sent in turn."""

    name: str
    requests: tuple[Request, ...]

    def write(self, path: Path) -> None:
        """Write the requests in perf_analyzer's JSON format."""
        entries = [
            {
                name: {
                    "content": {"b64": base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")},
                    "shape": list(values.shape),
                }
                for name, values in vars(request).items()
            }
            for request in self.requests
        ]
        path.write_text(json.dumps({"data": entries}), encoding="ascii")


def make_workload(source: Request, lengths: Sequence[int], f0_floor: float) -> Workload:
    """Cut requests of these lengths from a recording, which is repeated as often as needed.

    Args:
        source: features of the recording.
        lengths: frames of each request.
        f0_floor: lowest F0 in Hz that the engine takes; voiced frames below are raised to it.

    Raises:
        ValueError: if a length is not above 0.

    """
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths are {list(lengths)}, expected at least one, each at least 1 frame")
    requests = []
    for frames in lengths:
        f0, mcep, bap = (
            np.take(values, np.arange(frames), axis=0, mode="wrap") for values in (source.f0, source.mcep, source.bap)
        )
        requests.append(Request(raise_to_floor(f0, f0_floor), mcep, bap))
    return Workload(str(lengths[0]) if len(lengths) == 1 else "mixed", tuple(requests))

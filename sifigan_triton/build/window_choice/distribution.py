"""The requests that a window is chosen for: their lengths and their lowest F0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from preprocess import Settings, Voice, preprocess
from preprocess.f0 import LOWEST_FLOOR_HZ, lowest_f0, raise_to_floor
from preprocess.windows import Windows
from sifigan_triton.features.features import Features
from sifigan_triton.features.requests import Request, read_requests


@dataclass(frozen=True, eq=False)
class Distribution:
    """Requests, each of which is as likely as any other."""

    requests: tuple[Request, ...]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Frames of each request, int64 (R,)."""
        return np.array([request.f0.size for request in self.requests], np.int64)

    @property
    def lowest_f0s(self) -> npt.NDArray[np.float64]:
        """Lowest F0 in Hz of each request, float64 (R,); infinite where no frame is voiced."""
        lowest = [np.min(request.f0, where=request.f0 > 0.0, initial=np.inf) for request in self.requests]
        return np.array(lowest, np.float64)

    def below(self, f0_floor: float) -> str | None:
        """Return which requests an engine of this floor refuses, and the fix; None if it takes all."""
        lowest = self.lowest_f0s
        refused = int(np.count_nonzero(lowest < lowest_f0(f0_floor)))
        if not refused:
            return None
        floor = max(np.floor(lowest.min()), LOWEST_FLOOR_HZ)
        return (
            f"{refused} of {lowest.size} requests have F0 below the floor of {f0_floor:g} Hz, down to "
            f"{lowest.min():.1f} Hz, and will be refused: build with --f0-floor {floor:g}"
        )

    def windows(self, settings: Settings, count: int) -> Windows:
        """Cut `count` windows for an engine out of the longest request, from its first one on, again and again.

        F0 below the engine's floor is raised to it, as such requests count for their length all the same.
        """
        request = max(self.requests, key=lambda each: each.f0.size)
        f0 = raise_to_floor(request.f0, settings.f0_floor)
        repair = np.array([True])
        windows = preprocess(f0, request.mcep, request.bap, settings, repair=repair)
        picked = np.arange(count) % len(windows.bounds)
        return Windows(**{name: values[picked] for name, values in vars(windows).items()})


def read_distribution(files: Sequence[Path], voice: Voice) -> Distribution:
    """Read requests from perf_analyzer's JSON files and from feature files (`.npz`).

    Raises:
        ValueError: naming the file, if it cannot be read or holds no requests for this voice.

    """
    requests: list[Request] = []
    for file in files:
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
    return Distribution(tuple(requests))


def _read_features(file: Path, voice: Voice) -> Request:
    features = Features.load(file)
    if not np.isclose(features.frame_period_ms, voice.frame_period_ms):
        raise ValueError(
            f"{file}: a frame lasts {features.frame_period_ms:g} ms, expected {voice.frame_period_ms:g} ms as in the "
            "voice: analyse the recording for this voice"
        )
    return Request(features.f0, features.mcep, features.bap)

"""What work costs on one replica that is otherwise idle: all that the planner knows about a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sifigan_triton.files import atomic_file, read_at_most
from sifigan_triton.repository.runtimes.sized_engine import cheapest_cover, cost

MAX_BYTES = 2**16
"""Largest file of times, in bytes."""


@dataclass(frozen=True)
class ServiceTimes:
    """The times of one replica: what it has, cores or a GPU, is what every planned replica has."""

    window_s: Mapping[int, float]
    """Seconds of one window of the engine by the frames that it yields, the largest first."""
    halo: int
    """Frames that a window sees at both sides beyond what it yields."""
    around_s: float
    """Seconds of a call beside its windows, whatever its length: proxy, Triton, the other steps, the client."""
    around_frame_s: float
    """Seconds beside its windows for each frame."""
    frame_s: float
    """Seconds of audio of a frame."""
    longest: int
    """Frames of the longest call that it takes."""
    cores: int = 1
    """Cores that it has; a window on a CPU uses all of them."""
    gpu: bool = False
    """Whether windows are computed by a GPU, and the cores do the rest only."""
    batch: int = 1
    """Windows that go together in one call of the engine."""
    turns: bool = True
    """Whether the windows of all requests take turns (engines in Python models); else whole requests, as they came."""
    call_s: float = 0.0
    """Seconds of a call of the engine on top of its windows'; where `batch` is above 1."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: naming what cannot be.

        """
        times = {"around_s": self.around_s, "around_frame_s": self.around_frame_s, "call_s": self.call_s}
        sizes = list(self.window_s)
        if not sizes or min(sizes) < 1 or sizes != sorted(sizes, reverse=True) or min(self.window_s.values()) <= 0.0:
            raise ValueError(f"window_s is {dict(self.window_s)}, expected seconds above 0 by frames, largest first")
        for name, value in times.items():
            if not 0.0 <= value < 1e4:
                raise ValueError(f"{name} is {value}, expected seconds from 0")
        for name in ("halo", "longest", "cores", "batch"):
            if getattr(self, name) < (0 if name == "halo" else 1):
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {0 if name == 'halo' else 1}")
        if not 0.0 < self.frame_s < 1.0:
            raise ValueError(f"frame_s is {self.frame_s}, expected the seconds of a frame")

    @classmethod
    def load(cls, path: Path) -> ServiceTimes:
        """Read a file that `save` wrote.

        Raises:
            ValueError: naming the file and what is wrong with it.
            OSError: if it cannot be read.

        """
        try:
            values: dict[str, Any] = json.loads(read_at_most(path, MAX_BYTES))
            values["window_s"] = {int(size): float(seconds) for size, seconds in values["window_s"].items()}
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            expected = "times, as `sifigan-triton plan --measure ... --save` writes them"
            raise ValueError(f"{path}: {error!r}, expected {expected}") from None

    def save(self, path: Path) -> None:
        """Write them as JSON.

        Raises:
            OSError: if the file cannot be written.

        """
        with atomic_file(path) as file:
            file.write(json.dumps(asdict(self), indent=2).encode("ascii") + b"\n")

    def windows(self, frames: int) -> tuple[int, ...]:
        """Return the windows of a call, each by the frames that it yields, in order."""
        largest = self._sizes[0]
        whole, rest = divmod(frames, largest)
        return (largest,) * whole + cheapest_cover(rest, self._sizes, self.halo)

    def cost(self, size: int) -> float:
        """Return what a window costs in the unit by which the engine orders its work."""
        return cost(size, self.halo)

    def around(self, frames: int) -> float:
        """Return the seconds of a call beside its windows."""
        return self.around_s + self.around_frame_s * frames

    def alone(self, frames: int) -> float:
        """Return the seconds of a call on an idle replica."""
        windows = self.windows(frames)
        calls = -(-len(windows) // self.batch)
        return self.around(frames) + calls * self.call_s + sum(self.window_s[size] for size in windows)

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(self.window_s)

"""What computes an engine: one file a runtime, and `sized_engine.py`, which picks the window's size.

Both are staged beside `model.py` in the engine's model folder. Nothing in these files imports this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sifigan_triton.repository.runtimes.sized_engine import SizedEngine

SIZED_ENGINE = Path(__file__).with_name("sized_engine.py")


class Engine(Protocol):
    """A loaded engine of one size."""

    sized: bool
    """Whether engines of several sizes are built for it: it computes windows one by one, so that each size pays."""
    batch: int
    """Windows that it computes best in one call."""

    def __init__(self, folder: Path, precision: str, inputs: Mapping[str, list[int]]) -> None:
        """Load the engine of a folder; the inputs' dimensions are without the batch axis, -1: any size."""

    def run(self, windows: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Compute at most `batch` windows: float32 (n, 1, samples). Two threads may call it at a time if that is 1."""


def runtime_file(runtime: str) -> Path:
    """Return the file that is staged for a runtime."""
    return Path(__file__).with_name(f"{runtime}_runtime.py")


def load_engine(
    runtime: str, folder: Path, precision: str, inputs: Mapping[str, list[int]], samples: int
) -> SizedEngine:
    """Load an engine in this process, by the very code that the Triton model runs; arguments as in `SizedEngine`."""
    module = import_module(f"{__name__}.{runtime}_runtime")
    return SizedEngine(module.Engine, folder, precision, inputs, samples)

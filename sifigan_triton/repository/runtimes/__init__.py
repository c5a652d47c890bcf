"""What computes an engine: one file a runtime, staged beside `model.py` in the engine's model folder.

Each has a class `Engine`, made of the version folder, the precision and the inputs' dimensions (-1: any size), whose
`run` takes a batch of windows by name and returns float32 (n, 1, samples). Nothing in these files imports this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Engine(Protocol):
    """A loaded engine."""

    def __init__(self, folder: Path, precision: str, inputs: Mapping[str, list[int]]) -> None:
        """Load the engine of a version folder."""

    def run(self, windows: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Compute a batch of windows."""


def runtime_file(runtime: str) -> Path:
    """Return the file that is staged for a runtime."""
    return Path(__file__).with_name(f"{runtime}_runtime.py")


def load_engine(runtime: str, folder: Path, precision: str, inputs: Mapping[str, list[int]]) -> Engine:
    """Load an engine in this process, by the very code that the Triton model runs."""
    module = import_module(f"{__name__}.{runtime}_runtime")
    engine: Engine = module.Engine(folder, precision, inputs)
    return engine

"""ONNX Runtime, on the GPU where its CUDA build finds one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

_PROVIDERS = {
    "CUDAExecutionProvider": {
        "use_tf32": "0",  # FP32 means FP32: TF32 has 11 significant bits
        "cudnn_conv_algo_search": "HEURISTIC",  # the default benchmarks every convolution anew for every length
        "arena_extend_strategy": "kSameAsRequested",
    },
    "CPUExecutionProvider": {},
}
"""By preference."""


class Engine:
    """Runs windows one by one, so that the audio of a request never depends on what runs beside it."""

    sized, batch = False, 1

    def __init__(self, folder: Path, precision: str, inputs: Mapping[str, list[int]]) -> None:
        """Load the engine; its file decides the precision and the shapes."""
        available = set(ort.get_available_providers())
        providers = [(name, options) for name, options in _PROVIDERS.items() if name in available]
        self._session = ort.InferenceSession(folder / "model.onnx", providers=providers)

    def run(self, windows: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Compute one utterance."""
        waveform: npt.NDArray[np.float32] = self._session.run(None, dict(windows))[0]
        return waveform

"""OpenVINO on a CPU."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

logger = logging.getLogger(__name__)


class Engine:
    """Runs windows one by one, so that the audio of a request never depends on what runs beside it."""

    sized, batch = True, 1

    def __init__(self, folder: Path, precision: str, inputs: Mapping[str, list[int]]) -> None:
        """Compile the engine for one window; without BF16 arithmetic in the CPU, `bf16` is computed in FP32."""
        core = ov.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            logger.warning("this CPU has no BF16 arithmetic, the engine runs in FP32")
            precision = "fp32"
        model = core.read_model(folder / "model.onnx")
        model.reshape({name: [1, *dims] for name, dims in inputs.items()})
        hint = {"fp32": "f32", "bf16": "bf16"}[precision]
        properties = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": hint,
            # Engines of two sizes may run side by side: pinned to the same cores, they would stand in each other's way.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(model, "CPU", properties)
        self._infer = compiled.create_infer_request()
        self._infer.infer(
            {i: np.zeros(port.shape, port.element_type.to_dtype()) for i, port in enumerate(compiled.inputs)}
        )
        # The first run allocates: now it is behind, and no request waits for it.
        self._alone = threading.Lock()  # an infer request computes for one thread at a time, another one's call fails

    def run(self, windows: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Compute one window."""
        with self._alone:
            waveform: npt.NDArray[np.float32] = self._infer.infer(dict(windows))[0].copy()
        return waveform

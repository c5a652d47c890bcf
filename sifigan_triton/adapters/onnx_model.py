"""Triton model of an ONNX Runtime engine, for servers without Triton's own ONNX Runtime backend."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Runs the windows of a request one by one, so that the audio of a request never depends on what runs beside it."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine."""
        path = Path(__file__).with_name("model.onnx")
        self.session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.names = [port.name for port in self.session.get_inputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        inputs = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.names}
        try:
            windows = [
                self.session.run(None, {name: values[i : i + 1] for name, values in inputs.items()})[0]
                for i in range(inputs["bounds"].shape[0])
            ]
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions share no base class below Exception
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"ONNX Runtime: {error}"))
        return pb_utils.InferenceResponse([pb_utils.Tensor("waveform", np.concatenate(windows))])

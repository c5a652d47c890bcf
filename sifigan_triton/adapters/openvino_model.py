"""Triton model of an OpenVINO engine, for servers without Triton's own OpenVINO backend."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Runs the windows of a request one by one, so that the audio of a request never depends on what runs beside it."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the engine for one window."""
        config = json.loads(args["model_config"])
        precision = config["parameters"]["precision"]["string_value"]
        core = ov.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            pb_utils.Logger.log_warn(f"{args['model_name']}: this CPU has no BF16 arithmetic, the engine runs in FP32")
            precision = "f32"
        model = core.read_model(Path(__file__).with_name("model.onnx"))
        self.names = [port["name"] for port in config["input"]]
        model.reshape({port["name"]: [1, *map(int, port["dims"])] for port in config["input"]})
        properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        self.infer = core.compile_model(model, "CPU", properties).create_infer_request()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        inputs = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.names}
        try:
            windows = [
                self.infer.infer({name: values[i : i + 1] for name, values in inputs.items()})[0].copy()
                for i in range(inputs["bounds"].shape[0])
            ]
        except RuntimeError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"OpenVINO: {error}"))
        return pb_utils.InferenceResponse([pb_utils.Tensor("waveform", np.concatenate(windows))])

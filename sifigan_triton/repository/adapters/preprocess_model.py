"""Triton models `preprocess*`: one utterance, through the interface that the model's inputs tell -> windows."""

import json
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from .preprocess import Repair, RequestError, Settings, Voice, interface_of
from .preprocess.voice import VOICE_FILE


class TritonPythonModel:
    """Adapts `preprocess.Interface.outputs` to Triton; a request that cannot be synthesised fails alone."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the voice's constants and the engine's window from the model folder."""
        config = json.loads(args["model_config"])
        values = {key: parameter["string_value"] for key, parameter in config["parameters"].items()}
        self.settings = Settings.from_parameters(Voice.load(Path(__file__).with_name(VOICE_FILE)), values)
        self.interface = interface_of([tensor["name"] for tensor in config["input"]])
        self.outputs = [tensor["name"] for tensor in config["output"]]
        self.name = args["model_name"]
        self.metrics = pb_utils.MetricFamily(
            name="sifigan_repaired_frames_total",
            description="Frames whose NaN or Inf were replaced because the request asked for it (input repair)",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        self.repaired_frames = self.metrics.Metric(labels={"model": self.name, "version": args["model_version"]})

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        try:
            outputs = self.interface.outputs(tensors, self.settings, self._report)
        except RequestError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG))
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, outputs[name]) for name in self.outputs])

    def _report(self, repair: Repair) -> None:
        """Log and count what was replaced."""
        pb_utils.Logger.log_warn(f"{self.name}: {repair}")
        self.repaired_frames.increment(repair.count)

"""Triton model of a bare engine, for servers without the runtime's native backend."""

import json
import logging
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils
from runtime import Engine


class TritonPythonModel:
    """Adapts the engine of `runtime.py`, staged beside this file, to Triton."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine."""
        logging.basicConfig(format=f"{args['model_name']}: %(message)s", force=True)
        config = json.loads(args["model_config"])
        inputs = {port["name"]: [int(size) for size in port["dims"]] for port in config["input"]}
        self.names = list(inputs)
        self.output = config["output"][0]["name"]
        self.engine = Engine(Path(__file__).parent, config["parameters"]["precision"]["string_value"], inputs)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        windows = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.names}
        try:
            waveform = self.engine.run(windows)
        except Exception as error:  # noqa: BLE001 - the runtimes' exceptions share no base class below Exception
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"engine: {error}"))
        return pb_utils.InferenceResponse([pb_utils.Tensor(self.output, waveform)])

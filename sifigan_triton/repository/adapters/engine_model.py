"""Triton model of a bare engine, for servers without the runtime's native backend."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .runtime import Engine


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
        """Compute the windows of all requests as one batch; if that fails, each request on its own."""
        batch = [self._windows(request) for request in requests]
        if len(batch) > 1:  # which Triton does only where `config.pbtxt` asks for dynamic batching
            counts = [len(windows[self.names[0]]) for windows in batch]
            joined = {name: np.concatenate([windows[name] for windows in batch]) for name in self.names}
            try:
                waveforms = np.split(self.engine.run(joined), np.cumsum(counts)[:-1])
                return [self._response(waveform) for waveform in waveforms]
            except Exception:  # the runtimes' exceptions share no base class below it
                logging.exception("a batch of %d requests failed, they are computed one by one", len(batch))
        return [self._respond(windows) for windows in batch]

    def _windows(self, request: Any) -> dict[str, Any]:
        return {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.names}

    def _respond(self, windows: dict[str, Any]) -> Any:
        try:
            return self._response(self.engine.run(windows))
        except Exception as error:  # noqa: BLE001 - the runtimes' exceptions share no base class below it
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"engine: {error}"))

    def _response(self, waveform: Any) -> Any:
        return pb_utils.InferenceResponse([pb_utils.Tensor(self.output, waveform)])

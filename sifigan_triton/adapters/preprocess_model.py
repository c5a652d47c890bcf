"""Triton model `preprocess`: features of one utterance -> the engine's batch of windows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from preprocess import RequestError, Settings, Voice, preprocess


class TritonPythonModel:
    """Adapts `preprocess.preprocess` to Triton; a request that cannot be synthesised fails alone."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the voice's constants and the engine's window from the model folder."""
        parameters = json.loads(args["model_config"])["parameters"]
        values = {key: parameter["string_value"] for key, parameter in parameters.items()}
        self.settings = Settings(
            voice=Voice.load(Path(__file__).with_name("voice.json")),
            window=int(values["window"]),
            halo=int(values["halo"]),
            f0_floor=float(values["f0_floor"]),
            max_batch_size=int(values["max_batch_size"]),
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        try:
            f0, mcep, bap = (tensors.get(name) for name in ("f0", "mcep", "bap"))
            windows = preprocess(f0, mcep, bap, self.settings, tensors.get("f0_factor"), tensors.get("seed"))
        except RequestError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG))
        samples = np.array([tensors["f0"].shape[0] * self.settings.voice.hop_size], np.int64)
        outputs = {**vars(windows), "samples": samples}
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, values) for name, values in outputs.items()])

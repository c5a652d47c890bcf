"""Triton model `postprocess`: the engine's batch of windows -> one waveform."""

from typing import Any

import triton_python_backend_utils as pb_utils

from .postprocess import make_outputs
from .postprocess.outputs import SAMPLES, WINDOWS


class TritonPythonModel:
    """Adapts `postprocess.make_outputs` to Triton."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        windows = pb_utils.get_input_tensor_by_name(request, WINDOWS).as_numpy()
        samples = pb_utils.get_input_tensor_by_name(request, SAMPLES).as_numpy()
        made = make_outputs(windows, int(samples[0]), request.requested_output_names())
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, values) for name, values in made.items()])

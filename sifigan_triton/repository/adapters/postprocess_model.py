"""Triton model `postprocess`: the engine's batch of windows -> one waveform."""

from typing import Any

import triton_python_backend_utils as pb_utils

from .postprocess import merge, to_pcm16


class TritonPythonModel:
    """Adapts `postprocess.merge` and `postprocess.to_pcm16` to Triton; only the outputs asked for are made."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        windows = pb_utils.get_input_tensor_by_name(request, "windows").as_numpy()
        samples = pb_utils.get_input_tensor_by_name(request, "samples").as_numpy()
        waveform = merge(windows, int(samples[0]))
        wanted = request.requested_output_names()
        outputs = []
        if "waveform" in wanted:
            outputs.append(pb_utils.Tensor("waveform", waveform))
        if "waveform_row" in wanted:
            outputs.append(pb_utils.Tensor("waveform_row", waveform[None]))
        if "pcm16" in wanted:
            outputs.append(pb_utils.Tensor("pcm16", to_pcm16(waveform)))
        return pb_utils.InferenceResponse(outputs)

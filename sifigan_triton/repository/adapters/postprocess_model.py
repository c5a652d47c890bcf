"""Triton model `postprocess`: the engine's batch of windows -> one waveform."""

import json
from typing import Any

from .deadline import Deadline
from .metrics import expired_counter
from .postprocess import WindowsError, make_outputs
from .postprocess.outputs import DEADLINE, SAMPLES, WINDOWS
from .responses import TensorError, refusal, response


class TritonPythonModel:
    """Adapts `postprocess.make_outputs` to Triton."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the voice's hop and register the metrics."""
        self.hop_size = int(json.loads(args["model_config"])["parameters"]["hop_size"]["string_value"])
        self.expired = expired_counter(args)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        try:
            given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            deadline = self._deadline(given)
            if deadline.has_passed:
                self.expired.add(1)
                raise deadline.error("all windows were computed")
            made = make_outputs(given[WINDOWS], int(given[SAMPLES][0]), request.requested_output_names(), self.hop_size)
            return response(made)
        except Exception as error:  # noqa: BLE001 - one bad request fails alone, whatever is wrong with it
            return refusal(error, WindowsError)

    def _deadline(self, given: dict[str, Any]) -> Deadline:
        if DEADLINE not in given:
            return Deadline()
        shape, expected = list(given[DEADLINE].shape), [len(given[WINDOWS]), 1]
        if shape != expected or not given[DEADLINE].size:
            raise TensorError(
                f"{DEADLINE} has shape {shape}, expected {expected}, a row for each of the {WINDOWS}: send what "
                "preprocess made"
            )
        return Deadline(int(given[DEADLINE][0, 0]))

"""Triton model `postprocess`: the engine's batch of windows -> one waveform."""

from typing import Any

from .deadline import Deadline
from .metrics import expired_counter
from .postprocess import make_outputs
from .postprocess.outputs import DEADLINE, SAMPLES, WINDOWS
from .responses import refusal, response


class TritonPythonModel:
    """Adapts `postprocess.make_outputs` to Triton."""

    def initialize(self, args: dict[str, str]) -> None:
        """Register the metrics."""
        self.expired = expired_counter(args)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        deadline = Deadline(int(given[DEADLINE][0, 0])) if DEADLINE in given else Deadline()
        if deadline.has_passed:
            self.expired.add(1)
            return refusal(deadline.error("all windows were computed"))
        return response(make_outputs(given[WINDOWS], int(given[SAMPLES][0]), request.requested_output_names()))

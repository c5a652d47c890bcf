"""Triton model `postprocess`: the engine's batch of windows -> one waveform."""

import json
from typing import Any

from . import logs
from .call import Call
from .deadline import Deadline
from .metrics import Metric, Page
from .postprocess import SoundError, WindowsError, make_outputs
from .postprocess.outputs import DEADLINE, FIRST_SAMPLE, SAMPLES, WINDOWS
from .refusals import Kind, TensorError
from .responses import Responses

KINDS = {
    WindowsError: Kind("INVALID_ARG", "client", ("shape",)),
    SoundError: Kind("INTERNAL", "server", ("not_finite_output",)),
}


class TritonPythonModel:
    """Adapts `postprocess.make_outputs` to Triton."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the voice's rates and register the metrics."""
        logs.configure(args["model_name"])
        parameters = json.loads(args["model_config"])["parameters"]
        self.hop_size = int(parameters["hop_size"]["string_value"])
        self.sample_rate = int(parameters["sample_rate"]["string_value"])
        self.page = Page(args)
        self.responses = Responses(self.page, KINDS)
        self.audio = Metric(self.page, "sifigan_audio_seconds_total", "Seconds of audio answered")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own."""
        return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        """Write the last counts."""
        self.page.close()

    def _respond(self, request: Any) -> Any:
        call = Call.of(request)
        try:
            given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            deadline, samples = self._deadline(given), int(given[SAMPLES][0])
            if deadline.has_passed:
                raise deadline.error("all windows were computed")
            first = int(given[FIRST_SAMPLE][0]) if FIRST_SAMPLE in given else 0
            made = make_outputs(given[WINDOWS], samples, request.requested_output_names(), self.hop_size, first)
            response = self.responses.make(call, made)
            self.audio.add(samples / self.sample_rate)
            return response
        except Exception as error:  # noqa: BLE001 - one bad request fails alone, whatever is wrong with it
            return self.responses.make(call, error)

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

"""Triton models `preprocess*`: one utterance, through the interface that the model's inputs tell -> windows."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from . import logs
from .call import Call, computing
from .deadline import Deadline
from .loop import Job, Loop
from .metrics import Page, RequestMetrics, UtteranceMetrics
from .preprocess import Reason, Repair, RequestError, Settings, Voice, interface_of
from .preprocess.names import BOUNDS, DEADLINE, SAMPLES
from .preprocess.voice import VOICE_FILE
from .refusals import Kind
from .responses import Responses

logger = logging.getLogger(__name__)


class TritonPythonModel:
    """Adapts `preprocess.Interface.outputs` to Triton; a request that cannot be synthesised fails alone."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the voice's constants and the engine's window from the model folder."""
        logs.configure(args["model_name"])
        config = json.loads(args["model_config"])
        values = {key: parameter["string_value"] for key, parameter in config["parameters"].items()}
        self.settings = Settings.from_parameters(Voice.load(Path(__file__).with_name(VOICE_FILE)), values)
        self.interface = interface_of([tensor["name"] for tensor in config["input"]])
        self.outputs = [tensor["name"] for tensor in config["output"]]
        self.page = Page(args)
        self.metrics, self.utterances = RequestMetrics(self.page), UtteranceMetrics(self.page)
        self.responses = Responses(self.page, {RequestError: Kind("INVALID_ARG", "client", get_args(Reason))})
        self.loop = Loop(self._compute)

    def execute(self, requests: list[Any]) -> list[None]:
        """Let each request wait for its turn: its deadline counts from here, and a short one passes a long one."""
        for request in requests:
            self._take(request)
        return [None] * len(requests)

    def finalize(self) -> None:
        """Answer what still waits."""
        self.loop.close()
        self.page.close()

    def _take(self, request: Any) -> None:
        """Refuse at once what does not fit: while a request waits, its tensors fill memory."""
        call, sender = self.metrics.begin(request), request.get_response_sender()
        outputs: dict[str, Any] = {}
        answer = partial(self._answer, sender, outputs, call)
        try:
            deadline = Deadline.after(request.timeout())
            tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            self.interface.refuse_early(tensors, self.settings)
            size = float(sum(values.nbytes for values in tensors.values()))
        except Exception as error:  # noqa: BLE001 - one bad request fails alone, whatever is wrong with it
            answer(error)
            return
        self.loop.submit(Job((tensors, outputs, call), (deadline,), (size,), answer, deadline))

    def _compute(self, batch: list[tuple[Job, Any]]) -> None:
        ((job, deadline),) = batch
        tensors, outputs, call = job.work
        with computing([call]):
            made = self.interface.outputs(tensors, self.settings, partial(self._report, call))
            until = np.full((len(made[BOUNDS]), 1), deadline.at_us, np.int64)
            outputs.update({name: ({**made, DEADLINE: until})[name] for name in self.outputs})
        frames, windows = int(made[SAMPLES][0]) // self.settings.voice.hop_size, len(made[BOUNDS])
        yielded = frames if self.settings.dynamic else windows * self.settings.window
        self.utterances.count(frames, windows, yielded - frames)

    def _answer(self, sender: Any, outputs: dict[str, Any], call: Call, error: Exception | None) -> None:
        self.metrics.end(call)
        self.responses.send(sender, call, error or outputs)

    def _report(self, call: Call, repair: Repair) -> None:
        """Log and count what was replaced."""
        logger.warning("%s", repair, extra={"request": call.id})
        self.utterances.repaired.add(repair.count)

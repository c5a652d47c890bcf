"""Triton models `preprocess*`: one utterance, through the interface that the model's inputs tell -> windows."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .deadline import Deadline
from .loop import Job, Loop
from .metrics import Counter, RequestMetrics, Spent, computing
from .preprocess import Repair, RequestError, Settings, Voice, interface_of
from .preprocess.names import BOUNDS, DEADLINE
from .preprocess.voice import VOICE_FILE
from .responses import send


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
        self.metrics = RequestMetrics(args)
        self.repaired = Counter(
            args,
            "sifigan_repaired_frames_total",
            "Frames whose NaN or Inf were replaced because the request asked for it (input repair)",
        )
        self.loop = Loop(self._compute)

    def execute(self, requests: list[Any]) -> list[None]:
        """Let each request wait for its turn: its deadline counts from here, and a short one passes a long one."""
        for request in requests:
            self._take(request)
        return [None] * len(requests)

    def finalize(self) -> None:
        """Answer what still waits."""
        self.loop.close()

    def _take(self, request: Any) -> None:
        """Refuse at once what does not fit: while a request waits, its tensors fill memory."""
        spent, sender = Spent(), request.get_response_sender()
        outputs: dict[str, Any] = {}
        answer = partial(self._answer, sender, outputs, spent)
        try:
            deadline = Deadline.after(request.timeout())
            tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            self.interface.refuse_early(tensors, self.settings)
            size = float(sum(values.nbytes for values in tensors.values()))
        except Exception as error:  # noqa: BLE001 - one bad request fails alone, whatever is wrong with it
            answer(error)
            return
        self.loop.submit(Job((tensors, outputs, spent), (deadline,), (size,), answer, deadline))

    def _compute(self, batch: list[tuple[Job, Any]]) -> None:
        ((job, deadline),) = batch
        tensors, outputs, spent = job.work
        with computing([spent]):
            made = self.interface.outputs(tensors, self.settings, self._report)
            until = np.full((len(made[BOUNDS]), 1), deadline.at_us, np.int64)
            outputs.update({name: ({**made, DEADLINE: until})[name] for name in self.outputs})

    def _answer(self, sender: Any, outputs: dict[str, Any], spent: Spent, error: Exception | None) -> None:
        self.metrics.count(spent, error)
        send(sender, error or outputs, RequestError)

    def _report(self, repair: Repair) -> None:
        """Log and count what was replaced."""
        pb_utils.Logger.log_warn(f"{self.name}: {repair}")
        self.repaired.add(repair.count)

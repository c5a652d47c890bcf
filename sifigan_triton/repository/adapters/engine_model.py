"""Triton model of a bare engine, for servers without the runtime's native backend."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from . import logs
from .call import Call, computing
from .deadline import Deadline
from .loop import Job, Loop
from .metrics import Page, RequestMetrics, WindowMetrics
from .refusals import EngineError, TensorError
from .responses import Responses
from .runtime import Engine
from .sized_engine import EXCITATION, FEATURES, SizedEngine

DEADLINE, WANTED, OFFSETS = "deadline", "wanted", "offsets"


class TritonPythonModel:
    """Adapts the engine of `runtime.py`, staged beside this file, to Triton: the windows of all requests take turns."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine."""
        logs.configure(args["model_name"])
        config = json.loads(args["model_config"])
        dims = {port["name"]: [int(size) for size in port["dims"]] for port in (*config["input"], *config["output"])}
        self.inputs = [port["name"] for port in config["input"] if port["name"] not in (WANTED, DEADLINE)]
        self.output = config["output"][0]["name"]
        self.hop_size = int(config["parameters"]["hop_size"]["string_value"])
        self.engine = SizedEngine(
            Engine,
            Path(__file__).parent,
            config["parameters"]["precision"]["string_value"],
            {name: dims[name] for name in self.inputs},
            dims[self.output][-1],
        )
        self.page = Page(args)
        self.metrics, self.windows = RequestMetrics(self.page), WindowMetrics(self.page, self.engine.sizes)
        self.responses = Responses(self.page, {})
        self.loop = Loop(self._compute, self.engine.batch)

    def execute(self, requests: list[Any]) -> list[None]:
        """Let each request wait for its turns: the answers come when they are done."""
        for request in requests:
            self._take(request)
        return [None] * len(requests)

    def finalize(self) -> None:
        """Answer what still waits."""
        self.loop.close()
        self.page.close()

    def _take(self, request: Any) -> None:
        call, sender = self.metrics.begin(request), request.get_response_sender()
        try:
            windows = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            self._check(windows)
            wanted = pb_utils.get_input_tensor_by_name(request, WANTED)
            work = self.engine.work(windows, None if wanted is None else wanted.as_numpy()[:, 0])
            until = pb_utils.get_input_tensor_by_name(request, DEADLINE)
            deadline = Deadline.after(request.timeout()) if until is None else Deadline(int(until.as_numpy()[0, 0]))
        except Exception as error:  # noqa: BLE001 - one bad request fails alone, whatever is wrong with it
            self._answer(sender, None, call, error)
            return
        answer = partial(self._answer, sender, work, call)
        job = Job((work, call), work.parts, [part.cost for part in work.parts], answer, deadline)
        if work.parts:
            self.loop.submit(job)
        else:  # windows of which nobody wants a frame
            answer(None)

    def _check(self, windows: dict[str, Any]) -> None:
        """Check that the lengths of an utterance agree; all else Triton knows from the model's configuration."""
        frames = windows[FEATURES].shape[-1]
        lengths = {FEATURES: frames, OFFSETS: windows[OFFSETS].shape[-1], EXCITATION: windows[EXCITATION].shape[-1]}
        expected = {FEATURES: frames, OFFSETS: frames, EXCITATION: frames * self.hop_size}
        if frames == 0 or lengths != expected:
            raise TensorError(
                f"the lengths are {lengths}, expected at least one frame of {FEATURES}, as many of {OFFSETS} and "
                f"{self.hop_size} samples of {EXCITATION} for each: send what preprocess made"
            )

    def _compute(self, batch: list[tuple[Job, Any]]) -> None:
        with computing([job.work[1] for job, _ in batch]):
            try:
                self.engine.compute([(job.work[0], part) for job, part in batch])
            except Exception as error:  # the runtimes' exceptions share no base class below it
                raise EngineError(f"{error}") from error
        for job, part in batch:
            self.windows.count(part.frames, job.deadline.has_passed)

    def _answer(self, sender: Any, work: Any, call: Call, error: Exception | None) -> None:
        if error is None:
            self.windows.padded.add(work.padding)
        self.metrics.end(call)
        self.responses.send(sender, call, error or {self.output: work.waveform})

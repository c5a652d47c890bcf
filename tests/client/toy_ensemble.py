"""A model with the ensemble's tensors that takes as long as it is told, for tests of the client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

LONG_FRAMES = -1
TELL_TIMEOUT, GIVE_UP = 0.0, -1.0
"""Values of `f0_factor`: answer with the request's time-out in microseconds, answer that its deadline has passed."""
PASSED = (
    "in ensemble 'sifigan', the deadline of the request has passed: its timeout is 3 s, 2 of 118 windows were computed"
)
MODEL = (
    f"""PASSED = {PASSED!r}"""
    + """
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.respond(request) for request in requests]

    def respond(self, request):
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        time.sleep(max(int(tensors["seed"][0]), 0) / 1e3)
        if not (tensors["f0"].size and tensors["f0"][0] > 0):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"f0 of {tensors['f0'].size} frames"))
        if tensors["f0_factor"][0] == -1.0:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(PASSED, pb_utils.TritonError.CANCELLED))
        value = tensors["f0"] * tensors["f0_factor"] + tensors["mcep"].sum(1) + tensors["bap"].sum(1)
        if tensors["f0_factor"][0] == 0.0:
            value = np.full(tensors["f0"].shape, float(request.timeout()))
        samples = np.repeat(value, 8 if tensors["seed"][0] < 0 else 4)
        outputs = {"waveform": samples.astype(np.float32), "pcm16": samples.astype(np.int16)}
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, outputs[name]) for name in wanted])
"""
)
CONFIG = """
backend: "python"
max_batch_size: 0
instance_group [ { kind: KIND_CPU count: 2 } ]
input [
  { name: "f0" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "mcep" data_type: TYPE_FP32 dims: [ -1, 40 ] },
  { name: "bap" data_type: TYPE_FP32 dims: [ -1, 3 ] },
  { name: "f0_factor" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "seed" data_type: TYPE_INT64 dims: [ 1 ] },
  { name: "repair" data_type: TYPE_BOOL dims: [ 1 ] }
]
output [ { name: "waveform" data_type: TYPE_FP32 dims: [ -1 ] }, { name: "pcm16" data_type: TYPE_INT16 dims: [ -1 ] } ]
"""


def toy(folder: Path) -> Path:
    """Write a model with the ensemble's tensors; `seed` is how many milliseconds it takes; -1: longer frames."""
    version = folder / "sifigan" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL, encoding="utf-8")
    (folder / "sifigan" / "config.pbtxt").write_text(CONFIG, encoding="utf-8")
    return folder


def features(frames: int, value: float = 100.0) -> tuple[Any, Any, Any]:
    return np.full(frames, value, np.float32), np.zeros((frames, 40), np.float32), np.zeros((frames, 3), np.float32)

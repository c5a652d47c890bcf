"""Tiny Triton models for the tests of the server and of the measurements."""

from __future__ import annotations

from pathlib import Path

IDENTITY = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "f0").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("waveform", x)]) for x in inputs]
"""

TENSORS = """
max_batch_size: 0
input [ { name: "f0" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "waveform" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""

ENSEMBLE = """
platform: "ensemble"
ensemble_scheduling {
  step [ {
    model_name: "identity" model_version: -1
    input_map { key: "f0" value: "f0" }
    output_map { key: "waveform" value: "waveform" }
  } ]
}
"""


def write_python_model(repository: Path, name: str, code: str = IDENTITY) -> Path:
    """Write a model of the Python backend, from `f0` to `waveform`, into a repository; return its folder."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(code, encoding="utf-8")
    kind = "instance_group [ { kind: KIND_CPU count: 1 } ]"
    (repository / name / "config.pbtxt").write_text(f'backend: "python"\n{kind}{TENSORS}', encoding="utf-8")
    return repository / name


def write_ensemble(repository: Path, name: str) -> Path:
    """Write an ensemble around the model `identity` into a repository; return its folder."""
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(ENSEMBLE + TENSORS, encoding="utf-8")
    return repository / name


ENGINE = """
import numpy as np
import triton_python_backend_utils as pb_utils

HALO = {halo}


class TritonPythonModel:
    def execute(self, requests):
        return [self.respond(request) for request in requests]

    def respond(self, request):
        names = ("excitation", "features", "offsets")
        tensors = (pb_utils.get_input_tensor_by_name(request, name) for name in names)
        excitation, features, offsets = (tensor.as_numpy() for tensor in tensors)
        frames = np.abs(features).sum(axis=1, keepdims=True) + 0.001 * offsets.sum(axis=1, keepdims=True)
        waveform = excitation + 0.01 * np.repeat(frames, 120, axis=2).astype(np.float32)
        waveform = waveform[:, :, HALO * 120 : waveform.shape[2] - HALO * 120]
        return pb_utils.InferenceResponse([pb_utils.Tensor("waveform", np.ascontiguousarray(waveform))])
"""


def write_engine(repository: Path, name: str, config: str, halo: int) -> None:
    """Write a model with an engine's tensors, whose samples follow all its inputs of their own frame, nothing else."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(ENGINE.format(halo=halo), encoding="utf-8")
    (repository / name / "config.pbtxt").write_text(config, encoding="utf-8")

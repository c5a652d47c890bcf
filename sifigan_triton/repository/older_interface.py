"""Triton's view of the older interface: the ensemble `sifigan-tensors` and its first step.

The older bare engines had `max_batch_size: 1`: their clients send a batch axis of 1 in front of every tensor, and
perf_analyzer, whose files give the shapes without it, adds it by itself. The ensemble has it too, its first and last
step have not: Triton drops a batch axis of 1 in front of a step without batching, takes the first axis of the windows
for the engine's batch, and puts the batch axis in front of what `postprocess` returns, since its dimensions are those
of the ensemble's output.
"""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2 as pb

from preprocess.older_tensors import EXCITATION, FACTORS, FEATURES
from preprocess.settings import Settings
from sifigan_triton.repository.engine_kinds import EngineKind
from sifigan_triton.repository.model_config import FP32, REPAIR, WAVEFORM_ROW, Tensor, ensemble, windows_model

ENSEMBLE = "sifigan-tensors"
PREPROCESS = "preprocess-tensors"
OUTPUT = Tensor("OUTPUT__0", FP32, WAVEFORM_ROW.dims)


def older_tensors(settings: Settings) -> list[Tensor]:
    """Inputs of the ensemble, without the batch axis; optional, so that the first step can say what is missing."""
    return [
        Tensor(EXCITATION, FP32, (1, -1), optional=True),
        Tensor(FEATURES, FP32, (settings.voice.generator.in_channels, -1), optional=True),
        Tensor(FACTORS, FP32, (len(settings.voice.dense_factors), -1), optional=True),
        REPAIR,
    ]


def older_interface(settings: Settings, kind: EngineKind) -> tuple[pb.ModelConfig, pb.ModelConfig]:
    """Describe the ensemble around a kind of engine, and its first step."""
    inputs = older_tensors(settings)
    config = ensemble(settings, ENSEMBLE, kind, PREPROCESS, inputs, {WAVEFORM_ROW.name: OUTPUT})
    config.max_batch_size = 1
    return config, windows_model(settings, PREPROCESS, kind, inputs)

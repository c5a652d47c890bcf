"""The `config.pbtxt` of the ensembles and of the steps before and behind the engine.

The older bare engines had `max_batch_size: 1`: their clients send a batch axis of 1 in front of every tensor, and
perf_analyzer, whose files give the shapes without it, adds it by itself. The ensemble `sifigan-tensors` has it too, its
first and last step have not: Triton drops a batch axis of 1 in front of a step without batching, takes the first axis
of the windows for the engine's batch, and puts the batch axis in front of what `postprocess` returns, since its
dimensions are those of the ensemble's output.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from tritonclient.grpc import model_config_pb2 as pb

from postprocess import outputs as response
from preprocess import names, older_tensors
from preprocess.f0 import LOWEST_FLOOR_HZ
from preprocess.settings import Settings
from sifigan_triton.repository.engine_kinds import EngineKind, Platform
from sifigan_triton.repository.model_config import (
    BOOL,
    FP32,
    FP64,
    INT16,
    INT64,
    Tensor,
    add_tensors,
    batched,
    python_model,
    window_tensors,
)
from sifigan_triton.repository.runtimes.sized_engine import window_sizes

ENSEMBLE, OLDER_ENSEMBLE = "sifigan", "sifigan-tensors"
OLDER_FIRST_STEP, LAST_STEP = "preprocess-tensors", "postprocess"

_REPAIR = Tensor(names.REPAIR, BOOL, (1,), optional=True)
_SAMPLES = Tensor(names.SAMPLES, INT64, (1,))
_FIRST_SAMPLE = Tensor(names.FIRST_SAMPLE, INT64, (1,))
_NEXT_PHASE = Tensor(names.NEXT_PHASE, FP64, (1,))
_DEADLINE = Tensor(names.DEADLINE, INT64, (1,))
"""The same for every window: it goes with them as their batch does."""
_WANTED = Tensor(names.WANTED, INT64, (1,))
_WAVEFORM, _PCM16 = Tensor(response.WAVEFORM, FP32, (-1,)), Tensor(response.PCM16, INT16, (-1,))
_WAVEFORM_ROW = Tensor(response.WAVEFORM_ROW, FP32, (1, -1))


def request_tensors(settings: Settings) -> list[Tensor]:
    """Inputs of the ensemble, and so of `preprocess`.

    The three features are required, yet declared optional: an ensemble answers a request that lacks a required input
    with "unexpected deadlock", where `preprocess` can say what is missing.
    """
    voice = settings.voice
    return [
        Tensor(names.F0, FP32, (-1,), optional=True),
        Tensor(names.MCEP, FP32, (-1, len(voice.mcep.mean)), optional=True),
        Tensor(names.BAP, FP32, (-1, len(voice.bap.mean)), optional=True),
        Tensor(names.F0_FACTOR, FP32, (1,), optional=True),
        Tensor(names.SEED, INT64, (1,), optional=True),
        _REPAIR,
        Tensor(names.RANGE, INT64, (4,), optional=True),
        Tensor(names.PHASE, FP64, (1,), optional=True),
        Tensor(names.VOICED_AROUND, FP64, (4,), optional=True),
    ]


def published(settings: Settings, kind: EngineKind, platform: Platform) -> dict[str, str]:
    """Return what a client has to know who asks for ranges: parameters of the ensemble.

    They are in the model's configuration, which HTTP (`/v2/models/sifigan/config`) and gRPC (`ModelConfig`) give.
    """
    voice = settings.voice
    sized = platform == "wheel" and kind.runtime == "openvino"
    network = {
        "sample_rate": voice.sample_rate,
        "dense_factors": voice.dense_factors,
        "pd_indexing": voice.pd_indexing,
        "generator": asdict(voice.generator),
    }
    values = {
        "sample_rate": voice.sample_rate,
        "hop_size": voice.hop_size,
        "f0_floor": settings.f0_floor,
        "halo": settings.halo,
        "windows": " ".join(map(str, window_sizes(settings.window) if sized else (settings.window,))),
        "longest_frames": settings.longest_frames,
        "network": json.dumps(network),
    }
    return {name: str(value) for name, value in values.items()}


def older_request_tensors(settings: Settings) -> list[Tensor]:
    """Inputs of `sifigan-tensors`, without the batch axis; optional, so that its first step can say what is missing."""
    return [
        Tensor(older_tensors.EXCITATION, FP32, (1, -1), optional=True),
        Tensor(older_tensors.FEATURES, FP32, (settings.voice.generator.in_channels, -1), optional=True),
        Tensor(older_tensors.FACTORS, FP32, (len(settings.voice.dense_factors), -1), optional=True),
        _REPAIR,
    ]


def first_step_config(settings: Settings, kind: EngineKind) -> pb.ModelConfig:
    """Describe the model that turns the features of a request into the windows that a kind of engine takes."""
    config = _windows_model(settings, kind.first_step, kind, request_tensors(settings))
    add_tensors(config, [], [_NEXT_PHASE])
    return config


def older_first_step_config(settings: Settings, kind: EngineKind) -> pb.ModelConfig:
    """Describe the model that turns the older engines' tensors into the windows that a kind of engine takes."""
    return _windows_model(settings, OLDER_FIRST_STEP, kind, older_request_tensors(settings))


def last_step_config(settings: Settings) -> pb.ModelConfig:
    """Describe the model that turns an engine's windows into the waveform."""
    (deadline,) = batched([replace(_DEADLINE, name=response.DEADLINE, optional=True)])
    first_sample = replace(_FIRST_SAMPLE, name=response.FIRST_SAMPLE, optional=True)
    samples = replace(_SAMPLES, name=response.SAMPLES)
    inputs = [Tensor(response.WINDOWS, FP32, (-1, 1, -1)), samples, first_sample, deadline]
    config = python_model(LAST_STEP, inputs, [_WAVEFORM, _PCM16, _WAVEFORM_ROW])
    for key, value in {"hop_size": settings.voice.hop_size, "sample_rate": settings.voice.sample_rate}.items():
        config.parameters[key].string_value = str(value)
    return config


def ensemble_config(settings: Settings, name: str, kind: EngineKind, platform: Platform = "wheel") -> pb.ModelConfig:
    """Describe an ensemble around a kind of engine that takes features."""
    outputs = {tensor.name: tensor for tensor in (_WAVEFORM, _PCM16)}
    config = _ensemble(settings, name, kind, kind.first_step, request_tensors(settings), outputs, platform)
    add_tensors(config, [], [_NEXT_PHASE])
    config.ensemble_scheduling.step[0].output_map[_NEXT_PHASE.name] = _NEXT_PHASE.name
    for key, value in published(settings, kind, platform).items():
        config.parameters[key].string_value = value
    return config


def older_ensemble_config(settings: Settings, kind: EngineKind, platform: Platform = "wheel") -> pb.ModelConfig:
    """Describe the ensemble around a kind of engine that takes the older engines' tensors."""
    outputs = {_WAVEFORM_ROW.name: replace(_WAVEFORM_ROW, name=older_tensors.WAVEFORM)}
    inputs = older_request_tensors(settings)
    config = _ensemble(settings, OLDER_ENSEMBLE, kind, OLDER_FIRST_STEP, inputs, outputs, platform)
    config.max_batch_size = 1
    return config


def _windows_model(settings: Settings, name: str, kind: EngineKind, inputs: list[Tensor]) -> pb.ModelConfig:
    static = kind.static
    windows = batched([*window_tensors(settings, static), _WANTED, _DEADLINE])
    config = python_model(name, inputs, [*windows, _FIRST_SAMPLE, _SAMPLES])
    values = {
        "window": settings.window,
        "halo": settings.halo if static else 0,
        "f0_floor": settings.f0_floor if static else LOWEST_FLOOR_HZ,
        "max_batch_size": settings.max_batch_size,
        "dynamic": str(not static).lower(),
    }
    for key, value in values.items():
        config.parameters[key].string_value = str(value)
    return config


def _ensemble(
    settings: Settings,
    name: str,
    kind: EngineKind,
    first_step: str,
    inputs: list[Tensor],
    outputs: dict[str, Tensor],
    platform: Platform,
) -> pb.ModelConfig:
    """Describe an ensemble around an engine.

    Args:
        settings: constants of the voice and of the static engines.
        name: the ensemble's name.
        kind: its engine.
        first_step: the model that makes the engine's windows out of `inputs`.
        inputs: inputs of the ensemble and of the first step.
        outputs: outputs of the ensemble, by the names that `postprocess` gives them.
        platform: what serves it.

    """
    config = pb.ModelConfig(name=name, platform="ensemble", max_batch_size=0)
    add_tensors(config, inputs, list(outputs.values()))
    windows = {tensor.name: tensor.name for tensor in window_tensors(settings, kind.static)}
    known = {name: name for name in (names.FIRST_SAMPLE, names.SAMPLES)}
    deadline, wanted = {names.DEADLINE: names.DEADLINE}, {names.WANTED: names.WANTED}
    native = platform == "container"  # such backends know neither
    made = windows | deadline | known if native else windows | deadline | known | wanted
    _add_step(config, first_step, {tensor.name: tensor.name for tensor in inputs}, made)
    taken = windows if native else windows | deadline | wanted
    _add_step(config, kind.model, taken, {names.ENGINE_OUTPUT: response.WINDOWS})
    waveform = {source: tensor.name for source, tensor in outputs.items()}
    taken = {
        response.WINDOWS: response.WINDOWS,
        response.FIRST_SAMPLE: names.FIRST_SAMPLE,
        response.SAMPLES: names.SAMPLES,
        response.DEADLINE: names.DEADLINE,
    }
    _add_step(config, LAST_STEP, taken, waveform)
    return config


def _add_step(config: pb.ModelConfig, model: str, inputs: dict[str, str], outputs: dict[str, str]) -> None:
    """Add a step to an ensemble; the maps lead from the names of the model to those of the ensemble."""
    step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
    step.input_map.update(inputs)
    step.output_map.update(outputs)

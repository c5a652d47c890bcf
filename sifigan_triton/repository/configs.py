"""Triton's view of the ensemble: the `config.pbtxt` of every model, rendered through Triton's own protobuf classes."""

from __future__ import annotations

from collections.abc import Sequence

from tritonclient.grpc import model_config_pb2 as pb

from preprocess.settings import Settings
from sifigan_triton.repository.engine_kinds import EngineKind, Platform
from sifigan_triton.repository.model_config import (
    FP32,
    HEADER,
    INT16,
    INT64,
    REPAIR,
    SAMPLES,
    WAVEFORM_ROW,
    Tensor,
    add_tensors,
    batched,
    engine_output,
    ensemble,
    python_model,
    text,
    window_tensors,
    windows_model,
)
from sifigan_triton.repository.native_backends import add_native_backend
from sifigan_triton.repository.older_interface import older_interface

__all__ = ["HEADER", "render_configs", "request_tensors", "window_tensors"]


def request_tensors(settings: Settings) -> list[Tensor]:
    """Inputs of the ensemble, and so of `preprocess`.

    The three features are required, yet declared optional: an ensemble answers a request that lacks a required input
    with "unexpected deadlock", where `preprocess` can say what is missing.
    """
    voice = settings.voice
    return [
        Tensor("f0", FP32, (-1,), optional=True),
        Tensor("mcep", FP32, (-1, len(voice.mcep.mean)), optional=True),
        Tensor("bap", FP32, (-1, len(voice.bap.mean)), optional=True),
        Tensor("f0_factor", FP32, (1,), optional=True),
        Tensor("seed", INT64, (1,), optional=True),
        REPAIR,
    ]


def preprocess_model(kind: EngineKind) -> str:
    """Name of the model that makes an engine's inputs."""
    return "preprocess" if kind.static else "preprocess-dynamic"


RESPONSE = (Tensor("waveform", FP32, (-1,)), Tensor("pcm16", INT16, (-1,)))


def render_configs(
    settings: Settings, engines: Sequence[EngineKind], default: EngineKind, platform: Platform = "wheel"
) -> dict[str, str]:
    """Render the `config.pbtxt` of every model.

    Args:
        settings: constants of the voice and of the static engines.
        engines: the engines to serve.
        default: the engine behind the ensemble `sifigan`.
        platform: what serves them.

    Returns:
        Text of `config.pbtxt` for each model name.

    """
    configs = [_postprocess(), _ensemble(settings, "sifigan", default), *older_interface(settings, default)]
    first_steps = {preprocess_model(kind): kind for kind in engines}
    configs += [windows_model(settings, name, kind, request_tensors(settings)) for name, kind in first_steps.items()]
    configs += [_ensemble(settings, kind.ensemble, kind) for kind in engines]
    configs += [_engine(settings, kind, platform) for kind in engines]
    return {config.name: text(config) for config in configs}


def _postprocess() -> pb.ModelConfig:
    return python_model("postprocess", [Tensor("windows", FP32, (-1, 1, -1)), SAMPLES], [*RESPONSE, WAVEFORM_ROW])


def _engine(settings: Settings, kind: EngineKind, platform: Platform) -> pb.ModelConfig:
    inputs, output = window_tensors(settings, kind.static), engine_output(settings, kind.static)
    if platform == "wheel":
        config = python_model(kind.model, inputs, [output])
        config.parameters["precision"].string_value = kind.precision
        config.max_batch_size = settings.max_batch_size
        _add_concurrency(config, kind)
        return config
    if kind.runtime == "openvino":  # its backend makes the batch axis static at max_batch_size: it gets none
        config = pb.ModelConfig(name=kind.model)
        add_tensors(config, batched(inputs), batched([output]))
    else:
        config = pb.ModelConfig(name=kind.model, max_batch_size=settings.max_batch_size)
        add_tensors(config, inputs, [output])
    add_native_backend(config, kind)
    return config


def _add_concurrency(config: pb.ModelConfig, kind: EngineKind) -> None:
    """Say what an engine in a Python model does with requests that come while it computes."""
    if kind.runtime == "trt":  # one larger batch takes a GPU hardly longer: the windows of all that wait go together
        config.dynamic_batching.SetInParent()
    elif kind.static:  # windows take a CPU their time one by one; a second process lets short requests pass a long one
        config.instance_group[0].count = 2


def _ensemble(settings: Settings, name: str, kind: EngineKind) -> pb.ModelConfig:
    response = {tensor.name: tensor for tensor in RESPONSE}
    return ensemble(settings, name, kind, preprocess_model(kind), request_tensors(settings), response)

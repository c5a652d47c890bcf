"""Building blocks of the `config.pbtxt` files, through Triton's own protobuf classes."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from preprocess.f0 import LOWEST_FLOOR_HZ
from preprocess.settings import Settings
from sifigan_triton.repository.engine_kinds import EngineKind

HEADER = "# Rendered by build_engines.py: change sifigan_triton/repository/configs.py, not this file.\n"

BOOL, FP32, INT16, INT32, INT64 = pb.TYPE_BOOL, pb.TYPE_FP32, pb.TYPE_INT16, pb.TYPE_INT32, pb.TYPE_INT64


@dataclass(frozen=True)
class Tensor:
    """Name, data type and dimensions of one model input or output; -1 is any size."""

    name: str
    data_type: int
    dims: tuple[int, ...]
    optional: bool = False


WAVEFORM_ROW = Tensor("waveform_row", FP32, (1, -1))
"""The waveform with a channel axis: what `sifigan-tensors` returns."""
SAMPLES = Tensor("samples", INT64, (1,))
REPAIR = Tensor("repair", BOOL, (1,), optional=True)


def window_tensors(settings: Settings, static: bool = True) -> list[Tensor]:
    """Inputs of a static or a dynamic engine, without the batch axis."""
    generator = settings.voice.generator
    frames = settings.input_frames if static else -1
    tensors = [
        Tensor("excitation", FP32, (1, frames * generator.hop_size if static else -1)),
        Tensor("features", FP32, (generator.in_channels, frames)),
        Tensor("offsets", INT32, (len(generator.pitch_dependent_convs), frames)),
    ]
    return [*tensors, Tensor("bounds", INT32, (2,))] if static else tensors


def engine_output(settings: Settings, static: bool = True) -> Tensor:
    """Output of a static or a dynamic engine, without the batch axis."""
    return Tensor("waveform", FP32, (1, settings.window * settings.voice.hop_size if static else -1))


def text(config: pb.ModelConfig) -> str:
    """Return the text of a `config.pbtxt`."""
    return HEADER + str(text_format.MessageToString(config, use_short_repeated_primitives=True))


def python_model(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> pb.ModelConfig:
    """Describe a Python-backend model without batching."""
    config = pb.ModelConfig(name=name, backend="python", max_batch_size=0)
    add_tensors(config, inputs, outputs)
    config.instance_group.add(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)
    return config


def windows_model(settings: Settings, name: str, kind: EngineKind, inputs: list[Tensor]) -> pb.ModelConfig:
    """Describe a model that turns the tensors of a request into the windows that a kind of engine takes."""
    static = kind.static
    config = python_model(name, inputs, [*batched(window_tensors(settings, static)), SAMPLES])
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


def ensemble(
    settings: Settings,
    name: str,
    kind: EngineKind,
    first_step: str,
    inputs: list[Tensor],
    response: dict[str, Tensor],
) -> pb.ModelConfig:
    """Describe an ensemble around an engine.

    Args:
        settings: constants of the voice and of the static engines.
        name: the ensemble's name.
        kind: its engine.
        first_step: the model that makes the engine's windows out of `inputs`.
        inputs: inputs of the ensemble and of the first step.
        response: outputs of the ensemble, by the names that `postprocess` gives them.

    """
    config = pb.ModelConfig(name=name, platform="ensemble", max_batch_size=0)
    add_tensors(config, inputs, list(response.values()))
    windows = {tensor.name: tensor.name for tensor in window_tensors(settings, kind.static)}
    samples = {SAMPLES.name: SAMPLES.name}
    _add_step(config, first_step, {tensor.name: tensor.name for tensor in inputs}, windows | samples)
    _add_step(config, kind.model, windows, {"waveform": "windows"})
    outputs = {source: tensor.name for source, tensor in response.items()}
    _add_step(config, "postprocess", {"windows": "windows"} | samples, outputs)
    return config


def batched(tensors: list[Tensor]) -> list[Tensor]:
    """Put the window axis, which the engine sees as its batch axis, in front."""
    return [Tensor(tensor.name, tensor.data_type, (-1, *tensor.dims)) for tensor in tensors]


def add_tensors(config: pb.ModelConfig, inputs: list[Tensor], outputs: list[Tensor]) -> None:
    """Add the inputs and outputs of a model."""
    for tensor in inputs:
        config.input.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, optional=tensor.optional)
    for tensor in outputs:
        config.output.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)


def _add_step(config: pb.ModelConfig, model: str, inputs: dict[str, str], outputs: dict[str, str]) -> None:
    """Add a step to an ensemble; the maps lead from the names of the model to those of the ensemble."""
    step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
    step.input_map.update(inputs)
    step.output_map.update(outputs)

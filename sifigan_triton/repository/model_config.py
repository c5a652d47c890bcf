"""Building blocks of the `config.pbtxt` files, through Triton's own protobuf classes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tritonclient.grpc import model_config_pb2 as pb

from preprocess import names
from preprocess.settings import Settings

BOOL, FP32, FP64 = pb.TYPE_BOOL, pb.TYPE_FP32, pb.TYPE_FP64
INT16, INT32, INT64 = pb.TYPE_INT16, pb.TYPE_INT32, pb.TYPE_INT64


@dataclass(frozen=True)
class Tensor:
    """Name, data type and dimensions of one model input or output; -1 is any size."""

    name: str
    data_type: int
    dims: tuple[int, ...]
    optional: bool = False


def window_tensors(settings: Settings, static: bool = True) -> list[Tensor]:
    """Inputs of a static or a dynamic engine, without the batch axis."""
    generator = settings.voice.generator
    frames = settings.input_frames if static else -1
    tensors = [
        Tensor(names.EXCITATION, FP32, (1, frames * generator.hop_size if static else -1)),
        Tensor(names.FEATURES, FP32, (generator.in_channels, frames)),
        Tensor(names.OFFSETS, INT32, (len(generator.pitch_dependent_convs), frames)),
    ]
    return [*tensors, Tensor(names.BOUNDS, INT32, (2,))] if static else tensors


def engine_output(settings: Settings, static: bool = True) -> Tensor:
    """Output of a static or a dynamic engine, without the batch axis."""
    return Tensor(names.ENGINE_OUTPUT, FP32, (1, settings.window * settings.voice.hop_size if static else -1))


def python_model(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> pb.ModelConfig:
    """Describe a Python-backend model without batching."""
    config = pb.ModelConfig(name=name, backend="python", max_batch_size=0)
    add_tensors(config, inputs, outputs)
    config.instance_group.add(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)
    return config


def batched(tensors: list[Tensor]) -> list[Tensor]:
    """Put the window axis, which the engine sees as its batch axis, in front."""
    return [replace(tensor, dims=(-1, *tensor.dims)) for tensor in tensors]


def add_tensors(config: pb.ModelConfig, inputs: list[Tensor], outputs: list[Tensor]) -> None:
    """Add the inputs and outputs of a model."""
    for tensor in inputs:
        config.input.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, optional=tensor.optional)
    for tensor in outputs:
        config.output.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)

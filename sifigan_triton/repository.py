"""Triton's view of the ensemble: the `config.pbtxt` of every model, rendered through Triton's own protobuf classes."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from preprocess.settings import Settings

HEADER = "# Rendered by build_engines.py: change sifigan_triton/repository.py, not this file.\n"

FP32, INT16, INT32, INT64 = pb.TYPE_FP32, pb.TYPE_INT16, pb.TYPE_INT32, pb.TYPE_INT64


@dataclass(frozen=True)
class Tensor:
    """Name, data type and dimensions of one model input or output; -1 is any size."""

    name: str
    data_type: int
    dims: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True)
class EngineKind:
    """One way to run the engine."""

    name: str
    """Suffix of the model's name: `sifigan-<name>`."""
    adapter: str
    """File in `sifigan_triton/adapters` that becomes the model's `model.py`."""
    precision: str
    """Arithmetic of the weights and activations."""

    @property
    def model(self) -> str:
        """Name of the Triton model."""
        return f"sifigan-{self.name}"


ENGINES = {
    kind.name: kind
    for kind in (
        EngineKind("openvino-fp32", "openvino_model.py", "f32"),
        EngineKind("openvino-bf16", "openvino_model.py", "bf16"),
        EngineKind("onnx-fp32", "onnx_model.py", "f32"),
    )
}


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
    ]


def window_tensors(settings: Settings) -> list[Tensor]:
    """Inputs of the engine, without the batch axis."""
    generator, frames = settings.voice.generator, settings.input_frames
    return [
        Tensor("excitation", FP32, (1, frames * generator.hop_size)),
        Tensor("features", FP32, (generator.in_channels, frames)),
        Tensor("offsets", INT32, (len(generator.pitch_dependent_convs), frames)),
        Tensor("bounds", INT32, (2,)),
    ]


def engine_output(settings: Settings) -> Tensor:
    """Output of the engine, without the batch axis."""
    return Tensor("waveform", FP32, (1, settings.window * settings.voice.hop_size))


RESPONSE = (Tensor("waveform", FP32, (-1,)), Tensor("pcm16", INT16, (-1,)))
SAMPLES = Tensor("samples", INT64, (1,))


def render_configs(settings: Settings, engines: list[EngineKind], default: EngineKind) -> dict[str, str]:
    """Render the `config.pbtxt` of every model.

    Args:
        settings: constants of the voice and the engine.
        engines: the engines to serve.
        default: the engine behind the ensemble `sifigan`.

    Returns:
        Text of `config.pbtxt` for each model name.

    """
    configs = [_preprocess(settings), _postprocess(settings), _ensemble(settings, default)]
    configs += [_engine(settings, kind) for kind in engines]
    return {config.name: HEADER + _text(config) for config in configs}


def _text(config: pb.ModelConfig) -> str:
    return str(text_format.MessageToString(config, use_short_repeated_primitives=True))


def _preprocess(settings: Settings) -> pb.ModelConfig:
    config = _model("preprocess", request_tensors(settings), [*_batched(window_tensors(settings)), SAMPLES])
    for key in ("window", "halo", "f0_floor", "max_batch_size"):
        config.parameters[key].string_value = str(getattr(settings, key))
    return config


def _postprocess(settings: Settings) -> pb.ModelConfig:
    output = engine_output(settings)
    windows = Tensor("windows", output.data_type, (-1, *output.dims))
    return _model("postprocess", [windows, SAMPLES], list(RESPONSE))


def _engine(settings: Settings, kind: EngineKind) -> pb.ModelConfig:
    config = _model(kind.model, window_tensors(settings), [engine_output(settings)])
    config.max_batch_size = settings.max_batch_size
    config.parameters["precision"].string_value = kind.precision
    return config


def _ensemble(settings: Settings, engine: EngineKind) -> pb.ModelConfig:
    config = pb.ModelConfig(name="sifigan", platform="ensemble", max_batch_size=0)
    _add_tensors(config, request_tensors(settings), list(RESPONSE))
    inputs = {tensor.name: tensor.name for tensor in request_tensors(settings)}
    windows = {tensor.name: tensor.name for tensor in window_tensors(settings)}
    samples = {SAMPLES.name: SAMPLES.name}
    _add_step(config, "preprocess", inputs, windows | samples)
    _add_step(config, engine.model, windows, {"waveform": "windows"})
    _add_step(config, "postprocess", {"windows": "windows"} | samples, {t.name: t.name for t in RESPONSE})
    return config


def _model(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> pb.ModelConfig:
    """Describe a Python-backend model without batching."""
    config = pb.ModelConfig(name=name, backend="python", max_batch_size=0)
    _add_tensors(config, inputs, outputs)
    config.instance_group.add(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)
    return config


def _batched(tensors: list[Tensor]) -> list[Tensor]:
    """Put the window axis, which the engine sees as its batch axis, in front."""
    return [Tensor(tensor.name, tensor.data_type, (-1, *tensor.dims)) for tensor in tensors]


def _add_tensors(config: pb.ModelConfig, inputs: list[Tensor], outputs: list[Tensor]) -> None:
    for tensor in inputs:
        config.input.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, optional=tensor.optional)
    for tensor in outputs:
        config.output.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)


def _add_step(config: pb.ModelConfig, model: str, inputs: dict[str, str], outputs: dict[str, str]) -> None:
    step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
    step.input_map.update(inputs)
    step.output_map.update(outputs)

"""The `config.pbtxt` of a bare engine: a Python model in the wheel's server, a native backend in NVIDIA's container."""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2 as pb

from preprocess import names
from preprocess.settings import Settings
from sifigan_triton.repository.engine_kinds import RUNTIMES, EngineKind, Platform
from sifigan_triton.repository.model_config import (
    INT64,
    Tensor,
    add_tensors,
    batched,
    engine_output,
    python_model,
    window_tensors,
)

PREFERRED_BATCH_SIZES = (1, 2, 4, 8, 16)
"""Windows in a call for which TensorRT's backend captures CUDA graphs and at which its dynamic batcher aims."""
TURNS = [Tensor(name, INT64, (1,), optional=True) for name in (names.WANTED, names.DEADLINE)]
"""How much of a window is wanted, and until when: what only Python models take."""
_PARAMETERS = {
    # No profiling executor: with any length it would specialise the graph again and again.
    "pt": {"DISABLE_OPTIMIZED_EXECUTION": "true"},
    # The default benchmarks every convolution anew for every length, and plans memory for each.
    "onnx": {"cudnn_conv_algo_search": "1", "arena_extend_strategy": "1", "enable_mem_pattern": "0"},
    "openvino": {"NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"},
    "trt": {},
}


def engine_config(settings: Settings, kind: EngineKind, platform: Platform) -> pb.ModelConfig:
    """Describe an engine to what serves it."""
    inputs, output = window_tensors(settings, kind.static), engine_output(settings, kind.static)
    if platform == "wheel":
        config = python_model(kind.model, [*inputs, *TURNS], [output])
        config.parameters["precision"].string_value = kind.precision
        config.parameters["hop_size"].string_value = str(settings.voice.hop_size)
        config.max_batch_size = settings.max_batch_size
        return config
    if kind.runtime == "openvino":  # its backend makes the batch axis static at max_batch_size: it gets none
        config = pb.ModelConfig(name=kind.model)
        add_tensors(config, batched(inputs), batched([output]))
    else:
        config = pb.ModelConfig(name=kind.model, max_batch_size=settings.max_batch_size)
        add_tensors(config, inputs, [output])
    _add_native_backend(config, kind)
    return config


def _add_native_backend(config: pb.ModelConfig, kind: EngineKind) -> None:
    """Describe an engine, whose tensors `config` holds already, to its runtime's native backend (release 24.10)."""
    config.backend = RUNTIMES[kind.runtime].backend
    config.default_model_filename = kind.file
    place = config.instance_group.add(count=1)  # the kind is left to Triton: the GPU where there is one
    parameters = dict(_PARAMETERS[kind.runtime])
    if kind.runtime == "openvino":
        place.kind = pb.ModelInstanceGroup.KIND_CPU
        if kind.precision == "bf16":
            parameters["HINT_BF16"] = "YES"
    elif kind.runtime == "trt":
        place.kind = pb.ModelInstanceGroup.KIND_GPU
        _add_tensorrt(config)
    for key, value in parameters.items():
        config.parameters[key].string_value = value


def _add_tensorrt(config: pb.ModelConfig) -> None:
    """Batch windows of concurrent requests, capture CUDA graphs, and keep copies off the engine's way."""
    sizes = [size for size in PREFERRED_BATCH_SIZES if size <= config.max_batch_size]
    config.dynamic_batching.preferred_batch_size.extend(sizes)
    cuda = config.optimization.cuda
    cuda.graphs = cuda.busy_wait_events = cuda.output_copy_stream = True
    config.optimization.input_pinned_memory.enable = True
    config.optimization.output_pinned_memory.enable = True

"""What the native backends of NVIDIA's container (release 24.10) want in an engine's `config.pbtxt`."""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2 as pb

from sifigan_triton.repository.engine_kinds import RUNTIMES, EngineKind

PREFERRED_BATCH_SIZES = (1, 2, 4, 8, 16)
"""Windows in a call for which TensorRT's backend captures CUDA graphs and at which its dynamic batcher aims."""
_PARAMETERS = {
    # No profiling executor: with any length it would specialise the graph again and again.
    "pt": {"DISABLE_OPTIMIZED_EXECUTION": "true"},
    # The default benchmarks every convolution anew for every length, and plans memory for each.
    "onnx": {"cudnn_conv_algo_search": "1", "arena_extend_strategy": "1", "enable_mem_pattern": "0"},
    "openvino": {"NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"},
    "trt": {},
}


def add_native_backend(config: pb.ModelConfig, kind: EngineKind) -> None:
    """Describe an engine, whose tensors `config` holds already, to the native backend of its runtime."""
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

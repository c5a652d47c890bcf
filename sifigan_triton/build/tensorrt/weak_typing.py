"""The types of an ONNX file imposed on TensorRT 8.6, whose networks have no strong typing.

A weakly typed network treats types as hints: without the FP16 flag all is computed in FP32, with it the builder may
round what the file keeps in FP32. So every layer is told its type, and the builder has to obey.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from sifigan_triton.build.tensorrt.layers import network_layers

FIXED = {"CAST", "CONSTANT", "IDENTITY", "SHAPE"}
"""Kinds of layers whose types are their own affair."""


def float_types(onnx_file: Path) -> dict[str, int]:
    """Return the ONNX type of every floating-point tensor of a graph, by the name of the tensor and of its node.

    Both names are needed: the parser makes three layers of a one-dimensional convolution, of which only the last has
    the tensor's name, and the one in the middle the node's.
    """
    graph = onnx.shape_inference.infer_shapes(onnx.load(onnx_file)).graph
    tensors = [*graph.input, *graph.value_info, *graph.output]
    kinds = {tensor.name: tensor.type.tensor_type.elem_type for tensor in tensors}
    floats = {name: kind for name, kind in kinds.items() if kind in (TensorProto.FLOAT, TensorProto.FLOAT16)}
    return floats | {node.name: floats[node.output[0]] for node in graph.node if node.output[0] in floats}


def impose_types(network: Any, config: Any, trt: Any, types: dict[str, int]) -> int:
    """Set the precision and the output types of every layer that computes in floating-point.

    Args:
        network: the parsed network, weakly typed.
        config: the builder's configuration; its flags are set when a tensor is FP16.
        trt: the TensorRT module.
        types: what `float_types` returns.

    Returns:
        Number of layers that were told their type.

    """
    if TensorProto.FLOAT16 not in types.values():
        return 0  # without the FP16 flag nothing is rounded
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    told = 0
    for layer, what in network_layers(network):
        known = [types[name] for name in (*what.outputs, what.name) if name in types]
        if not known or what.kind in FIXED:
            continue
        wanted = trt.float16 if known[0] == TensorProto.FLOAT16 else trt.float32
        layer.precision = wanted
        for index in range(layer.num_outputs):
            layer.set_output_type(index, wanted)
        told += 1
    return told

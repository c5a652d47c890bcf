"""The layers of a parsed TensorRT network: which of them compute in FP32, and how TensorRT 8.6 is told their types.

TensorRT 8.6 has no strong typing: without the FP16 flag it computes all in FP32, with it the builder may round what the
file keeps in FP32. So every layer is told the type that the ONNX file gives it, and the builder has to obey.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

FLOATS = {"FLOAT": "FP32", "HALF": "FP16", "BF16": "BF16"}
"""TensorRT's names of the floating-point types, and ours."""
TRANSPARENT = {"CONSTANT", "IDENTITY", "SHUFFLE", "SLICE", "SQUEEZE", "UNSQUEEZE"}
"""Kinds of layers that only move data."""
FIXED = {"CAST", "CONSTANT", "IDENTITY", "SHAPE"}
"""Kinds of layers whose types are their own affair."""
GROUPS = {
    "input_conv": "input",
    "excitation_conv": "excitation-down",
    "source_downsamples": "excitation-down",
    "source_upsamples": "source-{stage}",
    "source_stages": "source-{stage}",
    "_filter_downsamples": "source-down",
    "filter_upsamples": "filter-{stage}",
    "filter_stages": "filter-{stage}",
    "output_conv": "output",
}
"""Group of layers (`network.precision.layer_groups`) of each module of the engine."""


@dataclass(frozen=True)
class Layer:
    """One layer of a network as the parser made it, before TensorRT fuses layers."""

    name: str
    kind: str
    """TensorRT's name of its type, such as CONVOLUTION."""
    outputs: tuple[str, ...]
    """Names of its output tensors."""
    precision: str
    """Type of its outputs if they are floating-point: FP32, FP16 or BF16; otherwise TensorRT's name of the type."""


def network_layers(network: Any) -> Iterator[tuple[Any, Layer]]:
    """Go through a network's layers: TensorRT's own object and what we say of it."""
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
        present = [tensor for tensor in outputs if tensor is not None]
        dtype = present[0].dtype.name if present else ""
        names = tuple(tensor.name for tensor in present)
        yield layer, Layer(layer.name, layer.type.name, names, FLOATS.get(dtype, dtype))


def computing(layers: Iterable[Layer], precision: str) -> list[Layer]:
    """Return the layers that compute in a precision; those that only move data are left out."""
    return [layer for layer in layers if layer.precision == precision and layer.kind not in TRANSPARENT]


def group_names(layers: Iterable[Layer], weights: dict[str, str]) -> dict[str, int]:
    """Count layers by where they belong, in the network's order.

    Args:
        layers: the layers.
        weights: of each convolution, by its layer's name, the name of its weights (`weight_names`).

    Returns:
        Number of layers by group: "convolution in filter-1" for those of a group of layers of the generator
        (`network.precision.layer_groups`), "activation /Tanh" for layers without weights, whose names tell no
        more; numbers behind a name are left out.

    """
    groups: Counter[str] = Counter()
    for layer in layers:
        if layer.name in weights:
            groups[f"{layer.kind.lower()} in {group_of(weights[layer.name])}"] += 1
        else:
            groups[f"{layer.kind.lower()} {re.sub(r'_[0-9]+$', '', layer.name)}"] += 1
    return dict(groups)


def group_of(weight: str) -> str:
    """Return the name of the group of layers that a weight of the exported engine belongs to, or the weight's own."""
    module, _, rest = weight.removeprefix("generator.").partition(".")
    stage = int(rest.split(".")[0]) + 1 if rest[:1].isdigit() else 0
    return GROUPS.get(module, weight).format(stage=stage)


def weight_names(onnx_file: Path) -> dict[str, str]:
    """Return the name of the weights of every convolution in an ONNX file, by the convolution's name."""
    graph = onnx.load(onnx_file).graph
    return {node.name: node.input[1] for node in graph.node if node.op_type == "Conv"}


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

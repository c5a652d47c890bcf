"""Layers of the exported engine, as TensorRT's parser sees them, are told apart by type and by what they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from onnx import TensorProto

from sifigan_triton.build.tensorrt.layers import (
    Layer,
    computing,
    float_types,
    group_names,
    group_of,
    impose_types,
    network_layers,
    weight_names,
)
from sifigan_triton.build.tensorrt.library import load_tensorrt_rtx, network_flags
from sifigan_triton.network.export import export_onnx
from sifigan_triton.network.generator import Generator
from sifigan_triton.network.precision import layer_groups
from tests.small_voice import one_thread, small_spec, small_voice


class Parsed(NamedTuple):
    """The FP16 engine of a small voice as TensorRT-RTX parses it."""

    path: Path
    generator: Generator
    network: Any
    keep: Any
    """Objects that the network needs to stay alive."""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Parsed:
    voice, generator = small_voice()
    path = tmp_path_factory.mktemp("layers") / "fp16.onnx"
    with one_thread():
        export_onnx(small_spec(voice, generator), path, torch.float16)
    trt = load_tensorrt_rtx()
    log = trt.Logger()
    builder = trt.Builder(log)
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, log)
    assert parser.parse_from_file(str(path))
    return Parsed(path, generator, network, (log, builder, parser))


class Told:
    """One layer of a network without strong typing: notes what it is told."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.precision: str | None = None
        self.types: dict[int, str] = {}

    def set_output_type(self, index: int, dtype: str) -> None:
        self.types[index] = dtype

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


class WeakNetwork:
    """The parsed network as TensorRT 8.6 gives it, whose layers have a precision to set."""

    def __init__(self, network: Any) -> None:
        self.layers = [Told(network.get_layer(index)) for index in range(network.num_layers)]
        self.num_layers = len(self.layers)

    def get_layer(self, index: int) -> Told:
        return self.layers[index]


class WeakTrt:
    """What the typing needs of TensorRT 8.6's module."""

    float16, float32 = "half", "float"

    class BuilderFlag:
        FP16, OBEY_PRECISION_CONSTRAINTS = "FP16", "OBEY_PRECISION_CONSTRAINTS"


class Flags:
    def __init__(self) -> None:
        self.flags: set[str] = set()

    def set_flag(self, flag: str) -> None:
        self.flags.add(flag)


def test_every_convolution_is_found_with_its_weights(parsed: Parsed) -> None:
    weights = weight_names(parsed.path)
    layers = [layer for _, layer in network_layers(parsed.network) if layer.kind == "CONVOLUTION"]
    assert len(layers) == 93
    assert {layer.name for layer in layers} == set(weights)


def test_groups_are_those_of_the_generator(parsed: Parsed) -> None:
    groups = [group_of(weight) for weight in weight_names(parsed.path).values()]
    assert set(groups) == {*layer_groups(parsed.generator), "output"}  # the last convolution has no choice
    expected = {
        name: sum(
            isinstance(layer, torch.nn.Conv1d | torch.nn.ConvTranspose1d) for m in modules for layer in m.modules()
        )
        for name, modules in layer_groups(parsed.generator).items()
    }
    assert {name: groups.count(name) for name in expected} == expected


def test_bounds_are_data_to_tensorrt(parsed: Parsed) -> None:
    """If a shape depended on them, Triton's TensorRT backend would want them declared as shape tensors."""
    tensors = [parsed.network.get_input(index) for index in range(parsed.network.num_inputs)]
    assert [tensor.name for tensor in tensors] == ["excitation", "features", "offsets", "bounds"]
    assert not [tensor.name for tensor in tensors if tensor.is_shape_tensor]


def test_counted_in_the_order_of_the_network() -> None:
    layers = [
        Layer("/Conv_3", "CONVOLUTION", ("a",), "FP32"),
        Layer("/Add_1", "ELEMENTWISE", ("b",), "FP32"),
        Layer("/Add_22", "ELEMENTWISE", ("c",), "FP32"),
        Layer("/Slice", "SLICE", ("d",), "FP32"),
        Layer("/Tanh", "ACTIVATION", ("e",), "FP16"),
    ]
    counted = group_names(computing(layers, "FP32"), {"/Conv_3": "generator.filter_stages.2.0.1.dilated.weight"})
    assert list(counted.items()) == [("convolution in filter-3", 1), ("elementwise /Add", 2)]


def test_without_strong_typing_every_layer_is_told_its_type(parsed: Parsed) -> None:
    network, config = WeakNetwork(parsed.network), Flags()
    told = impose_types(network, config, WeakTrt, float_types(parsed.path))
    assert config.flags == {"FP16", "OBEY_PRECISION_CONSTRAINTS"}
    by_kind: dict[str, set[str | None]] = {}
    for layer in network.layers:
        by_kind.setdefault(layer.type.name, set()).add(layer.precision)
    assert sum(layer.precision is not None for layer in network.layers) == told
    assert by_kind["GATHER"] == {"half", None}  # None: of integers
    assert by_kind["ACTIVATION"] == {"half", "float"}
    kept = [layer for layer in network.layers if layer.precision == "float"]
    last = next(name for name, weight in weight_names(parsed.path).items() if group_of(weight) == "output")
    assert {layer.name for layer in kept if layer.type.name in ("CONVOLUTION", "ACTIVATION")} == {last, "/Tanh"}


def test_integers_are_told_nothing(parsed: Parsed) -> None:
    """Precision on a layer of integers, the indices among them, is an error in TensorRT 8.6."""
    network = WeakNetwork(parsed.network)
    impose_types(network, Flags(), WeakTrt, float_types(parsed.path))
    integers = [layer for layer in network.layers if layer.get_output(0).dtype.name in ("INT32", "INT64", "BOOL")]
    assert len(integers) > 1000
    assert not [layer.name for layer in integers if layer.precision or layer.types]


def test_an_fp32_graph_needs_no_types(parsed: Parsed) -> None:
    network, config = WeakNetwork(parsed.network), Flags()
    assert impose_types(network, config, WeakTrt, {"/Tanh": TensorProto.FLOAT}) == 0
    assert config.flags == set()

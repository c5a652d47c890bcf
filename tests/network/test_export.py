"""The exported ONNX model says what the PyTorch engine says, and the check notices when it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto

from preprocess import Windows
from preprocess.names import DYNAMIC_INPUTS, ENGINE_OUTPUT, STATIC_INPUTS
from preprocess.windows import split
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.export import OPSET, export_dynamic_onnx, export_onnx, export_torchscript, run_onnx
from sifigan_triton.network.narrowing_engine import NarrowingEngine
from sifigan_triton.network.precision import layer_groups
from sifigan_triton.quality import snr_db
from tests.small_voice import (
    FloatArray,
    Inputs,
    inputs_of,
    one_thread,
    random_inputs,
    run_engine,
    run_generator,
    small_spec,
    small_voice,
)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


class Exported(NamedTuple):
    """A small engine and its ONNX file."""

    path: Path
    spec: EngineSpec


@pytest.fixture(scope="module", params=["reflect", "zero"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    spec = small_spec(*small_voice(request.param))
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export_onnx(spec, path)
    return Exported(path, spec)


def batch(exported: Exported, count: int) -> Windows:
    return split(*random_inputs(exported.spec.voice, 32 * count - 7), exported.spec.settings)


@pytest.mark.parametrize("count", [1, 3])
def test_onnx_runtime_equals_the_pytorch_engine(exported: Exported, count: int) -> None:
    windows = batch(exported, count)
    expected = run_engine(NarrowingEngine(exported.spec.generator, exported.spec.voice, exported.spec.plan), windows)
    got = run_onnx(exported.path, windows)
    assert got.shape == (count, 1, 32 * 120)
    assert got.dtype == np.float32
    assert snr_db(expected, got) >= 110.0


def test_export_leaves_the_generator_alone(exported: Exported) -> None:
    _, untouched = small_voice(exported.spec.voice.pd_indexing)
    for (name, values), expected in zip(
        exported.spec.generator.state_dict().items(), untouched.state_dict().values(), strict=True
    ):
        assert torch.equal(values, expected), name


def test_names_types_and_shapes(exported: Exported) -> None:
    model = onnx.load(exported.path)
    frames = exported.spec.settings.input_frames
    expected = {
        "excitation": (TensorProto.FLOAT, ["batch", 1, frames * 120]),
        "features": (TensorProto.FLOAT, ["batch", 43, frames]),
        "offsets": (TensorProto.INT32, ["batch", 10, frames]),
        "bounds": (TensorProto.INT32, ["batch", 2]),
    }
    got = {}
    for tensor in model.graph.input:
        kind = tensor.type.tensor_type
        got[tensor.name] = (kind.elem_type, [d.dim_param or d.dim_value for d in kind.shape.dim])
    assert [tensor.name for tensor in model.graph.input] == list(STATIC_INPUTS)
    assert got == expected
    (output,) = model.graph.output
    assert (output.name, output.type.tensor_type.elem_type) == (ENGINE_OUTPUT, TensorProto.FLOAT)
    assert [d.dim_param or d.dim_value for d in output.type.tensor_type.shape.dim] == ["batch", 1, 32 * 120]
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    onnx.checker.check_model(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
def test_indices_never_leave_integers(exported: Exported, tmp_path: Path, static: bool, dtype: torch.dtype) -> None:
    """Nothing upstream of a gather's index is floating-point, and nothing but `offsets` and `bounds` feeds it.

    So the indices of an FP16 graph are those of the FP32 one.
    """
    path = tmp_path / "model.onnx"
    if static:
        export_onnx(exported.spec, path, dtype)
    else:
        export_dynamic_onnx(exported.spec, path, dtype)
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    makers = {output: node for node in graph.node for output in node.output}
    types = {info.name: info.type.tensor_type.elem_type for info in (*graph.value_info, *graph.input)}
    floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
    gathers = [node for node in graph.node if node.op_type in ("GatherElements", "Gather")]
    gathers = [node for node in gathers if types.get(node.input[0]) in floats]
    assert len(gathers) == 20  # two taps of ten pitch-dependent convolutions
    waiting, seen = [node.input[1] for node in gathers], set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            made = makers.get(name)
            waiting.extend(made.input if made is not None and made.op_type != "Shape" else [])
    inputs = seen & {tensor.name for tensor in graph.input}
    assert inputs == ({"offsets", "bounds"} if static else {"offsets"})
    assert not [name for name in seen if types.get(name) in floats]


@pytest.fixture(scope="module")
def dynamic(exported: Exported) -> dict[str, Callable[[Inputs], FloatArray]]:
    """Run the exported full-length model, by runtime."""
    folder = exported.path.parent
    export_dynamic_onnx(exported.spec, folder / "dynamic.onnx")
    export_torchscript(exported.spec, folder / "model.pt")
    session = ort.InferenceSession(folder / "dynamic.onnx", providers=["CPUExecutionProvider"])
    script = torch.jit.load(str(folder / "model.pt"))
    return {
        "onnx": lambda inputs: session.run(None, dict(zip(DYNAMIC_INPUTS, inputs, strict=True)))[0],
        "pt": lambda inputs: script(*map(torch.from_numpy, inputs)).numpy(),
    }


@pytest.mark.parametrize("runtime", ["onnx", "pt"])
@pytest.mark.parametrize("frames", [1, 2, 50, 137])
def test_dynamic_export_takes_any_length(
    exported: Exported, dynamic: dict[str, Callable[[Inputs], FloatArray]], runtime: str, frames: int
) -> None:
    inputs = random_inputs(exported.spec.voice, frames)
    got = dynamic[runtime](tuple(values[None] for values in inputs))
    assert got.shape == (1, 1, frames * 120)
    assert got.dtype == np.float32
    assert snr_db(run_generator(exported.spec.generator, inputs), got.ravel()) >= 100.0


@pytest.mark.parametrize("runtime", ["onnx", "pt"])
def test_dynamic_export_keeps_the_utterances_of_a_batch_apart(
    exported: Exported, dynamic: dict[str, Callable[[Inputs], FloatArray]], runtime: str
) -> None:
    utterances = [inputs_of(exported.spec.voice, np.full(40, 500.0 + 90.0 * i, np.float32)) for i in range(3)]
    together = dynamic[runtime](tuple(map(np.stack, zip(*utterances, strict=True))))
    for inputs, waveform in zip(utterances, together, strict=True):
        assert snr_db(run_generator(exported.spec.generator, inputs), waveform.ravel()) >= 100.0


def test_dynamic_onnx_declares_what_triton_compares(exported: Exported, tmp_path: Path) -> None:
    export_dynamic_onnx(exported.spec, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    shapes = {
        tensor.name: [d.dim_param or d.dim_value for d in tensor.type.tensor_type.shape.dim]
        for tensor in (*graph.input, *graph.output)
    }
    assert shapes == {
        "excitation": ["batch", 1, "samples"],
        "features": ["batch", 43, "frames"],
        "offsets": ["batch", 10, "frames"],
        ENGINE_OUTPUT: ["batch", 1, "samples"],
    }


def test_torchscript_holds_no_device(exported: Exported, tmp_path: Path) -> None:
    """Triton loads it to the GPU where there is one: a device in the graph would leave a tensor behind."""
    export_torchscript(exported.spec, tmp_path / "model.pt")
    graph = torch.jit.load(str(tmp_path / "model.pt")).inlined_graph
    assert "Device = prim::Constant" not in str(graph)
    names = [argument.name for argument in torch.jit.load(str(tmp_path / "model.pt")).forward.schema.arguments]
    assert names == ["self", *DYNAMIC_INPUTS]


@pytest.mark.parametrize("keep", [(), ("source-1", "filter-4")], ids=["all", "mixed"])
def test_precision_of_the_exported_weights(exported: Exported, tmp_path: Path, keep: tuple[str, ...]) -> None:
    export_onnx(exported.spec, tmp_path / "model.onnx", torch.float16, keep)
    model = onnx.load(tmp_path / "model.onnx")
    groups = layer_groups(exported.spec.generator)
    layers = [exported.spec.generator.output_conv, *(layer for name in keep for layer in groups[name])]
    kept = sum(weight.numel() for layer in layers for weight in layer.parameters() if weight.dim() == 3)
    sizes = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
    for weight in model.graph.initializer:
        if len(weight.dims) == 3:
            sizes[weight.data_type] += int(np.prod(weight.dims))
    assert sizes[TensorProto.FLOAT] == kept
    assert sizes[TensorProto.FLOAT16] > 0
    types = {t.name: t.type.tensor_type.elem_type for t in (*model.graph.input, *model.graph.output)}
    assert types == {
        "excitation": TensorProto.FLOAT,
        "features": TensorProto.FLOAT,
        "offsets": TensorProto.INT32,
        "bounds": TensorProto.INT32,
        ENGINE_OUTPUT: TensorProto.FLOAT,
    }

"""The exported ONNX model says what the PyTorch engine says, and the check notices when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from preprocess import Settings, Voice, Windows
from preprocess.windows import split
from sifigan_triton.engine import NarrowingEngine
from sifigan_triton.export import INPUTS, OPSET, OUTPUT, ExportError, check_onnx, export_onnx, run_onnx, snr_db
from sifigan_triton.generator import Generator
from sifigan_triton.halo import CropPlan
from tests.small_voice import one_thread, random_inputs, run_engine, small_settings, small_voice


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


class Exported(NamedTuple):
    """A small engine and its ONNX file."""

    path: Path
    voice: Voice
    generator: Generator
    settings: Settings
    plan: CropPlan


@pytest.fixture(scope="module", params=["reflect", "zero"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    voice, generator = small_voice(request.param)
    settings, plan = small_settings(voice)
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export_onnx(generator, settings, plan, path)
    return Exported(path, voice, generator, settings, plan)


def batch(exported: Exported, count: int) -> Windows:
    return split(*random_inputs(exported.voice, 32 * count - 7), exported.settings)


@pytest.mark.parametrize("count", [1, 3])
def test_onnx_runtime_equals_the_pytorch_engine(exported: Exported, count: int) -> None:
    windows = batch(exported, count)
    expected = run_engine(NarrowingEngine(exported.generator, exported.voice, exported.plan), windows)
    got = run_onnx(exported.path, windows)
    assert got.shape == (count, 1, 32 * 120)
    assert got.dtype == np.float32
    assert snr_db(expected, got) >= 110.0


def test_check_passes_the_export(exported: Exported) -> None:
    assert check_onnx(exported.path, exported.generator, exported.settings, 100.0) >= 100.0


@pytest.mark.parametrize("change", [1.001, float("nan")], ids=["weight-changed", "weight-nan"])
def test_check_refuses_another_model(exported: Exported, change: float) -> None:
    _, other = small_voice(exported.voice.pd_indexing)
    other.source_stages[0][0].pitch_dependent.past.weight.mul_(change)
    message = r"model.onnx scores (nan|\d+\.\d) dB against the full-length generator, expected at least 100 dB: this is"
    with pytest.raises(ExportError, match=message):
        check_onnx(exported.path, other, exported.settings, 100.0)


def test_export_leaves_the_generator_alone(exported: Exported) -> None:
    _, untouched = small_voice(exported.voice.pd_indexing)
    for (name, values), expected in zip(
        exported.generator.state_dict().items(), untouched.state_dict().values(), strict=True
    ):
        assert torch.equal(values, expected), name


def test_names_types_and_shapes(exported: Exported) -> None:
    model = onnx.load(exported.path)
    frames = exported.settings.input_frames
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
    assert [tensor.name for tensor in model.graph.input] == list(INPUTS)
    assert [(o.name, o.type.tensor_type.elem_type) for o in model.graph.output] == [(OUTPUT, TensorProto.FLOAT)]
    assert got == expected
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    onnx.checker.check_model(model)


def test_indices_never_leave_integers(exported: Exported) -> None:
    """Nothing upstream of a gather's index is floating-point, and nothing but `offsets` and `bounds` feeds it."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(exported.path)).graph
    makers = {output: node for node in graph.node for output in node.output}
    types = {info.name: info.type.tensor_type.elem_type for info in (*graph.value_info, *graph.input)}
    gathers = [node for node in graph.node if node.op_type == "GatherElements"]
    assert len(gathers) == 20  # two taps of ten pitch-dependent convolutions
    waiting, seen = [node.input[1] for node in gathers], set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            made = makers.get(name)
            waiting.extend(made.input if made is not None and made.op_type != "Shape" else [])
    assert seen & {tensor.name for tensor in graph.input} == {"offsets", "bounds"}
    floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
    assert not [name for name in seen if types.get(name) in floats]


def test_full_size_voice_in_fp16(full_voice: tuple[Voice, Generator], tmp_path: Path) -> None:
    voice, generator = full_voice
    settings, plan = small_settings(voice, window=64, f0_floor=800.0)
    path = tmp_path / "model.onnx"
    export_onnx(generator, settings, plan, path, torch.float16)
    weights = onnx.load(path).graph.initializer
    assert {w.data_type for w in weights if len(w.dims) == 3} == {TensorProto.FLOAT16}
    assert check_onnx(path, generator, settings, 55.0) >= 55.0


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        pytest.param([1.0, 1.0], float("inf"), id="equal"),
        pytest.param([0.9, 1.0], 10.0 * np.log10(2.0 / 0.01), id="noise"),
        pytest.param([0.0, 0.0], 0.0, id="silence"),
        pytest.param([np.nan, 1.0], float("nan"), id="nan"),
    ],
)
def test_snr(test: list[float], expected: float) -> None:
    got = snr_db(np.ones(2, np.float32), np.array(test, np.float32))
    assert got == pytest.approx(expected, abs=1e-4, nan_ok=True)

"""TensorRT-RTX builds the very graphs that a TensorRT plan is made of, without a GPU, and their types are kept."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from preprocess import Voice
from sifigan_triton.build.tensorrt.check import GraphCheck, check_graph, format_checks
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.export import export_onnx
from sifigan_triton.network.generator import Generator
from tests.small_voice import one_thread

pytestmark = pytest.mark.slow

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


class Checks(NamedTuple):
    fp32: GraphCheck
    fp16: GraphCheck


@pytest.fixture(scope="module")
def checks(full_voice: tuple[Voice, Generator], tmp_path_factory: pytest.TempPathFactory) -> Checks:
    """The full-size voice; a small window changes the sizes of the tensors, not the layers.

    `build_engines.py --check-tensorrt` does the same with the default window (docs/howto/tensorrt.md)."""
    spec = EngineSpec(*full_voice, window=16, f0_floor=800.0)
    folder = tmp_path_factory.mktemp("tensorrt")
    done = []
    with one_thread():
        for name, dtype in DTYPES.items():
            path = folder / f"{name}.onnx"
            export_onnx(spec, path, dtype)
            done.append(check_graph(path, spec.settings))
    return Checks(done[0], done[1])


def test_both_graphs_build(checks: Checks) -> None:
    assert checks.fp32.name == "fp32"
    assert checks.fp32.plan_bytes > 30e6  # 8.7 million weights
    assert checks.fp16.name == "fp16"


def test_the_fp16_plan_is_smaller(checks: Checks) -> None:
    assert checks.fp16.plan_bytes < 0.65 * checks.fp32.plan_bytes


def test_nothing_but_the_end_stays_fp32(checks: Checks) -> None:
    """The last convolution with a cast at each side, and tanh; the indices are integers in both graphs."""
    assert checks.fp16.fp32 == {"cast /Cast": 2, "convolution in output": 1, "activation /Tanh": 1}
    assert set(checks.fp32.by_precision) == {"FP32"}
    assert checks.fp16.by_precision["FP16"] >= checks.fp32.by_precision["FP32"] - 4


def test_convolutions_are_counted_by_group(checks: Checks) -> None:
    convolutions = {name: count for name, count in checks.fp32.fp32.items() if name.startswith("convolution in ")}
    assert sum(convolutions.values()) == 93
    assert convolutions["convolution in filter-1"] == 10  # nine of the blocks, one that up-samples
    assert convolutions["convolution in source-down"] == 3


def test_table(checks: Checks) -> None:
    text = format_checks([checks.fp32, checks.fp16])
    ratio = checks.fp16.plan_bytes / checks.fp32.plan_bytes
    assert f"{ratio:.0%}" in text
    assert (
        "fp16: stayed FP32:\n  2 x cast /Cast\n  1 x convolution in output\n  1 x activation /Tanh\nbuilt with" in text
    )
    assert "fp32: stayed" not in text


def test_a_missing_file_is_named(full_voice: tuple[Voice, Generator]) -> None:
    settings = EngineSpec(*full_voice).settings
    with pytest.raises(RuntimeError, match=r"missing\.onnx is no file"):
        check_graph(Path("missing.onnx"), settings)

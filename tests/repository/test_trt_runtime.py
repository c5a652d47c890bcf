"""The runtime of TensorRT plans, as far as a machine without a GPU can tell; the rest is marked `gpu`."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from preprocess.windows import split
from sifigan_triton.build.tensorrt.library import TensorRTError, load_tensorrt, load_tensorrt_rtx
from sifigan_triton.build.tensorrt.plan import build_plan
from sifigan_triton.network.export import INPUTS, export_onnx, run_onnx
from sifigan_triton.repository.runtimes import trt_runtime
from tests.small_voice import random_inputs, small_spec, small_voice

WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
WITH_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@WITHOUT_GPU
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="needs an NVIDIA GPU and a CUDA build of torch, this machine has none"):
        trt_runtime.Engine(tmp_path, "fp16", {})


def test_every_method_of_tensorrt_that_it_calls_exists() -> None:
    """Methods called on the runtime, the engine and the context, looked up in the real bindings."""
    trt = load_tensorrt_rtx()
    classes = {"_runtime": trt.Runtime, "_engine": trt.ICudaEngine, "_context": trt.IExecutionContext}
    called = [
        (node.value.attr, node.attr)
        for node in ast.walk(ast.parse(Path(trt_runtime.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr in classes
    ]
    assert ("_context", "execute_async_v3") in called
    assert not [(owner, method) for owner, method in called if not hasattr(classes[owner], method)]


def test_the_module_is_the_one_that_built_the_plan(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"tensorrt_library": "tensorrt_rtx"}))
    assert trt_runtime._load_module(tmp_path).__name__ == load_tensorrt_rtx().__name__


def test_a_missing_module_is_named_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"tensorrt_library": "tensorrt", "tensorrt_version": "10.5.0"}))
    monkeypatch.setattr(trt_runtime, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"needs the Python package tensorrt 10\.5\.0: install it"):
        trt_runtime._load_module(tmp_path)


@pytest.mark.gpu
@WITH_GPU
def test_a_plan_says_what_the_graph_says(tmp_path: Path) -> None:
    """With TensorRT, or TensorRT-RTX where that is all there is; more windows than the plan takes at once."""
    try:
        trt, library = load_tensorrt(), "tensorrt"
    except TensorRTError:
        trt, library = load_tensorrt_rtx(), "tensorrt_rtx"
    voice, generator = small_voice()
    spec = small_spec(voice, generator)
    settings = spec.settings
    export_onnx(spec, tmp_path / "model.onnx")
    built = build_plan(tmp_path / "model.onnx", settings, trt)
    (tmp_path / "model.plan").write_bytes(built.serialized)
    (tmp_path / "manifest.json").write_text(json.dumps({"tensorrt_library": library}))
    windows = split(*random_inputs(voice, 32 * 11 - 5), settings)
    inputs = {name: getattr(windows, name) for name in INPUTS}
    engine = trt_runtime.Engine(tmp_path, "fp32", {name: list(values.shape[1:]) for name, values in inputs.items()})
    engine.max_batch = 8
    expected, got = run_onnx(tmp_path / "model.onnx", windows), engine.run(inputs)
    assert 10.0 * np.log10(np.sum(expected**2) / np.sum((expected - got) ** 2)) >= 100.0
    assert np.array_equal(got, engine.run(inputs))  # the second time from CUDA graphs

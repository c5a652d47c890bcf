"""The runtime of TensorRT plans, as far as a machine without a GPU can tell; the rest is marked `gpu`."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from preprocess.names import STATIC_INPUTS
from preprocess.windows import split
from sifigan_triton.build.tensorrt.library import TensorRTError, load_tensorrt, load_tensorrt_rtx
from sifigan_triton.build.tensorrt.plan import build_plan
from sifigan_triton.network.export import export_onnx, run_onnx
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
    classes = {"_runtime": trt.Runtime, "_engine": trt.ICudaEngine, "context": trt.IExecutionContext, "trt": trt}
    called = []
    for node in ast.walk(ast.parse(Path(trt_runtime.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute | ast.Name):
            called.append((node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id, node.attr))
    called = [(owner, method) for owner, method in called if owner in classes]
    assert {("context", "execute_async_v3"), ("_engine", "create_execution_context"), ("trt", "Runtime")} <= {*called}
    assert not [(owner, method) for owner, method in called if not hasattr(classes[owner], method)]


def test_the_module_is_the_one_that_built_the_plan(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"tensorrt_library": "tensorrt_rtx"}))
    assert trt_runtime._load_module(tmp_path).__name__ == load_tensorrt_rtx().__name__


def test_a_missing_module_is_named_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"tensorrt_library": "tensorrt", "tensorrt_version": "10.5.0"}))
    monkeypatch.setattr(trt_runtime, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"needs the Python package tensorrt 10\.5\.0: install it"):
        trt_runtime._load_module(tmp_path)


class StandInGpu:
    """Stands for TensorRT and for torch's CUDA: keeps the rule that a graph's context is as it was at the capture."""

    def __init__(self, graphs_work: bool = True) -> None:
        self.tensors: dict[int, torch.Tensor] = {}
        self.capturing: StandInGraph | None = None
        self.graphs_work = graphs_work
        self.contexts: list[StandInContext] = []
        self.replays = 0

    def empty(self, *shape: Any, dtype: torch.dtype, device: str = "cpu", pin_memory: bool = False) -> torch.Tensor:
        tensor = torch.zeros(*shape, dtype=dtype)
        self.tensors[tensor.data_ptr()] = tensor
        return tensor

    @contextmanager
    def graph(self, graph: StandInGraph, stream: Any) -> Iterator[None]:
        if not self.graphs_work:
            raise RuntimeError("this stand-in captures nothing")
        self.capturing = graph
        yield
        self.capturing = None

    def context(self, strategy: str) -> StandInContext:
        assert strategy == "user managed"
        self.contexts.append(StandInContext(self))
        return self.contexts[-1]

    def modules(self) -> tuple[Any, Any]:
        """Return what stands for the modules tensorrt and torch."""
        shapes = {"excitation": (-1, 1, 6), "bounds": (-1, 2), "waveform": (-1, 1, 6)}
        engine = SimpleNamespace(
            device_memory_size_v2=512,
            create_execution_context=self.context,
            get_tensor_profile_shape=lambda name, profile: [(1,), (1,), (6,)],
            get_tensor_shape=lambda name: shapes[name],
            get_tensor_dtype=lambda name: SimpleNamespace(name="INT32" if name == "bounds" else "FLOAT"),
        )
        runtime = SimpleNamespace(deserialize_cuda_engine=lambda plan: engine)
        trt = SimpleNamespace(
            Runtime=lambda log: runtime,
            Logger=type("Logger", (), {"WARNING": 0, "__init__": lambda self, level: None}),
            ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user managed"),
        )
        cuda = SimpleNamespace(
            is_available=lambda: True,
            Stream=lambda: SimpleNamespace(cuda_stream=7, synchronize=lambda: None),
            stream=nullcontext,
            CUDAGraph=lambda: StandInGraph(self),
            graph=self.graph,
        )
        kinds = {name: getattr(torch, name) for name in ("int32", "float32", "uint8", "Tensor")}
        return trt, SimpleNamespace(cuda=cuda, empty=self.empty, **kinds)


class StandInContext:
    """An execution context whose engine doubles the excitation."""

    def __init__(self, gpu: StandInGpu) -> None:
        self.gpu = gpu
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.memory: tuple[int, int] | None = None

    def state(self) -> tuple[Any, ...]:
        return dict(self.shapes), dict(self.addresses), self.memory

    def set_device_memory(self, address: int, size: int) -> None:
        assert self.gpu.tensors[address].numel() == size >= 512
        self.memory = (address, size)

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        assert self.gpu.capturing is None
        self.shapes[name] = shape

    def execute_async_v3(self, stream: int) -> bool:
        if self.gpu.capturing is not None:
            self.gpu.capturing.captured.append((self, self.state()))
        else:
            self.compute()
        return True

    def compute(self) -> None:
        assert self.memory is not None
        excitation, waveform = (self.gpu.tensors[self.addresses[name]] for name in ("excitation", "waveform"))
        count = self.shapes["excitation"][0]
        waveform[:count] = 2.0 * excitation[:count]


class StandInGraph:
    """A CUDA graph."""

    def __init__(self, gpu: StandInGpu) -> None:
        self.gpu = gpu
        self.captured: list[tuple[StandInContext, tuple[Any, ...]]] = []

    def replay(self) -> None:
        self.gpu.replays += 1
        for context, state in self.captured:
            assert context.state() == state, "the context was modified after the capture"
            context.compute()


@pytest.mark.parametrize("graphs_work", [True, False], ids=["graphs", "no-graphs"])
def test_a_graph_is_replayed_on_the_context_that_it_was_captured_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graphs_work: bool
) -> None:
    gpu = StandInGpu(graphs_work)
    trt, cuda_torch = gpu.modules()
    monkeypatch.setattr(trt_runtime, "_load_module", lambda folder: trt)
    monkeypatch.setattr(trt_runtime, "torch", cuda_torch)
    (tmp_path / "model.plan").write_bytes(b"")
    engine = trt_runtime.Engine(tmp_path, "fp32", {"excitation": [1, 6], "bounds": [2]})
    counts = (1, 2, 1, 3, 2, 5, 4, 8, 1, 13)  # of at most 6 at a time: 8 is 6 and 2, 13 is 6, 6 and 1
    for number, count in enumerate(counts):
        excitation = np.full((count, 1, 6), number, np.float32) + np.arange(count, dtype=np.float32)[:, None, None]
        got = engine.run({"excitation": excitation, "bounds": np.zeros((count, 2), np.int32)})
        np.testing.assert_array_equal(got, 2.0 * excitation)
    assert gpu.replays == (8 if graphs_work else 0)
    assert len({context.memory for context in gpu.contexts}) == 1, "all contexts share one memory"
    assert len({tuple(context.addresses.values()) for context in gpu.contexts}) == 1


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
    inputs = {name: getattr(windows, name) for name in STATIC_INPUTS}
    engine = trt_runtime.Engine(tmp_path, "fp32", {name: list(values.shape[1:]) for name, values in inputs.items()})
    engine.max_batch = 8
    expected, got = run_onnx(tmp_path / "model.onnx", windows), engine.run(inputs)
    assert 10.0 * np.log10(np.sum(expected**2) / np.sum((expected - got) ** 2)) >= 100.0
    assert np.array_equal(got, engine.run(inputs))  # the second time from CUDA graphs

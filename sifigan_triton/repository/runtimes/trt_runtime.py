"""A TensorRT plan on an NVIDIA GPU, through TensorRT's (or TensorRT-RTX's) Python package and torch's CUDA tensors."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

logger = logging.getLogger(__name__)

OUTPUT = "waveform"
GRAPH_BATCHES = (1, 2, 4, 8, 16)
"""Batch sizes that are replayed as CUDA graphs, captured when they are first seen."""
_MODULES = {"tensorrt": ("tensorrt", "tensorrt_bindings"), "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}


class Engine:
    """Runs the windows of a request as one batch; larger ones than the plan takes go through in pieces.

    Pinned host buffers and device buffers are allocated once, for the plan's largest batch: a CUDA graph replays the
    very addresses that it was captured with. Each graph has an execution context of its own, whose shapes never change
    after the capture, so that no graph depends on what a context of another shape left behind. The contexts share the
    memory of their activations: all work is queued on one stream, so that no two of them compute at a time.
    """

    sized, batch = False, GRAPH_BATCHES[-1]

    def __init__(self, folder: Path, precision: str, inputs: Mapping[str, list[int]]) -> None:
        """Load the plan; its file decides the precision.

        Raises:
            RuntimeError: if there is no GPU, or the plan is of another GPU or TensorRT.

        """
        if not torch.cuda.is_available():
            raise RuntimeError("a TensorRT plan needs an NVIDIA GPU and a CUDA build of torch, this machine has none")
        trt, path = _load_module(folder), _plan_file(folder)
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise RuntimeError(
                f"{path} does not load in {trt.__name__} {trt.__version__}: it was built with another version or for "
                "another GPU (its manifest.json says which): build it again on this machine"
            )
        self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Any] | None] = {}
        self._names = list(inputs)
        self.max_batch = int(self._engine.get_tensor_profile_shape(self._names[0], 0)[2][0])
        self._host: dict[str, torch.Tensor] = {}
        self.buffers: dict[str, torch.Tensor] = {}
        for name in (*self._names, OUTPUT):
            shape = (self.max_batch, *self._engine.get_tensor_shape(name)[1:])
            dtype = torch.int32 if self._engine.get_tensor_dtype(name).name == "INT32" else torch.float32
            self._host[name] = torch.empty(shape, dtype=dtype, pin_memory=True)
            self.buffers[name] = torch.empty(shape, dtype=dtype, device="cuda")
        size = max(int(self._engine.device_memory_size_v2), 1)  # bytes
        self._activations = torch.empty(size, dtype=torch.uint8, device="cuda")
        self._user_managed = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._context = self._new_context()  # of the batches without a graph

    def run(self, windows: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Compute a batch of windows."""
        count = len(windows[self._names[0]])
        pieces = [
            self._run_piece({name: windows[name][first : first + self.max_batch] for name in self._names})
            for first in range(0, count, self.max_batch)
        ]
        return np.concatenate(pieces)

    def _run_piece(self, windows: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        count = len(windows[self._names[0]])
        for name in self._names:
            self._host[name][:count].numpy()[...] = windows[name]
        with torch.cuda.stream(self.stream):
            for name in self._names:
                self.buffers[name][:count].copy_(self._host[name][:count], non_blocking=True)
            self.compute(count)
            self._host[OUTPUT][:count].copy_(self.buffers[OUTPUT][:count], non_blocking=True)
        self.stream.synchronize()
        waveform: npt.NDArray[np.float32] = self._host[OUTPUT][:count].numpy().copy()
        return waveform

    def compute(self, count: int) -> None:
        """Queue the computation of the first `count` windows of the device's `buffers` on the `stream`."""
        graph = self._graph(count) if count in GRAPH_BATCHES else None
        if graph is None:
            self._set_shapes(self._context, count)
            self._enqueue(self._context)
        else:
            graph.replay()

    def _new_context(self) -> Any:
        """Return an execution context on the buffers and the memory that all contexts share."""
        context = self._engine.create_execution_context(self._user_managed)
        if context is None:
            raise RuntimeError("TensorRT could not make an execution context; its log says why")
        context.set_device_memory(self._activations.data_ptr(), self._activations.numel())
        for name, buffer in self.buffers.items():
            context.set_tensor_address(name, buffer.data_ptr())
        return context

    def _set_shapes(self, context: Any, count: int) -> None:
        for name in self._names:
            context.set_input_shape(name, (count, *self.buffers[name].shape[1:]))

    def _enqueue(self, context: Any) -> None:
        if not context.execute_async_v3(self.stream.cuda_stream):
            raise RuntimeError("TensorRT could not run a batch of windows; its log says why")

    def _graph(self, count: int) -> torch.cuda.CUDAGraph | None:
        """Return the CUDA graph of a batch size; None if it cannot be captured, which is tried once."""
        if count not in self._graphs:
            self._graphs[count] = None
            context = self._new_context()
            self._set_shapes(context, count)
            self._enqueue(context)  # TensorRT allocates on the first run of a shape, and a capture must not
            self.stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, stream=self.stream):
                    self._enqueue(context)
                self._graphs[count] = graph, context  # which lives as long as its graph
            except RuntimeError as error:
                logger.warning("no CUDA graph for a batch of %d, it runs without: %s", count, error)
        captured = self._graphs[count]
        return None if captured is None else captured[0]


def _plan_file(folder: Path) -> Path:
    rtx = folder / "model.rtx.plan"
    return rtx if rtx.exists() else folder / "model.plan"


def _load_module(folder: Path) -> Any:
    """Import the module that the manifest beside the plan names."""
    manifest = folder / "manifest.json"
    facts = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
    library = facts.get("tensorrt_library", "tensorrt")
    for name in _MODULES[library]:
        if find_spec(name) is not None:
            return import_module(name)
    raise RuntimeError(f"the plan needs the Python package {library} {facts.get('tensorrt_version', '')}: install it")

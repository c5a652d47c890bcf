"""TensorRT's, or TensorRT-RTX's, candidates for `benchmarks.gpu_engines`, where it is installed and knows the GPU."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_bench import INPUTS, Array, Bench, Candidate
from sifigan_triton.build.tensorrt.library import TensorRTError, is_rtx, load_tensorrt, load_tensorrt_rtx
from sifigan_triton.build.tensorrt.plan import build_plan
from sifigan_triton.network.export import export_onnx
from sifigan_triton.network.precision import DTYPES
from sifigan_triton.repository.runtimes.trt_runtime import Engine


def tensorrt_candidates(bench: Bench, batches: list[int], remarks: list[str]) -> Iterator[Candidate]:
    """Give TensorRT's candidates; what cannot be built or run becomes a remark."""
    for load in (load_tensorrt, load_tensorrt_rtx):
        try:
            trt = load()
            _check_gpu(trt)
            for precision in ("fp32", "fp16"):
                yield from _plan_candidates(bench, batches, trt, precision)
        except (TensorRTError, RuntimeError) as error:
            remarks.append(f"{load.__name__}: {error}")


def _check_gpu(trt: Any) -> None:
    """Refuse TensorRT-RTX on a GPU that it was not made for, such as the H200."""
    major, minor = torch.cuda.get_device_capability(0)
    if is_rtx(trt) and not hasattr(trt.ComputeCapability, f"SM{major}{minor}"):
        known = ", ".join(name for name in trt.ComputeCapability.__members__ if name.startswith("SM"))
        raise TensorRTError(f"TensorRT-RTX {trt.__version__} does not know this GPU, SM{major}{minor}, but {known}")


def _plan_candidates(bench: Bench, batches: list[int], trt: Any, precision: str) -> Iterator[Candidate]:
    runtime, engine = f"{trt.__name__} {trt.__version__}, CUDA graph", _load(bench, trt, precision)
    inputs = {name: np.array(getattr(bench.windows, name)) for name in INPUTS}

    def waveform() -> Array:
        return bench.join(torch.from_numpy(engine.run(inputs)))

    for name, tensor in zip(INPUTS, bench.batch(max(batches)), strict=True):
        engine.buffers[name].copy_(tensor)
    for count in batches:

        def run(count: int = count) -> torch.Tensor:
            engine.stream.wait_stream(torch.cuda.current_stream())  # the clock runs on the current stream
            engine.compute(count)
            torch.cuda.current_stream().wait_stream(engine.stream)
            return engine.buffers["waveform"]

        frames = count * bench.settings.window
        yield Candidate(runtime, "narrowing", precision.upper(), count, frames, run, waveform)


def _load(bench: Bench, trt: Any, precision: str) -> Engine:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_onnx(bench.spec, folder / "model.onnx", DTYPES[precision])
        plan = build_plan(folder / "model.onnx", bench.settings, trt, optimum_batch=1)
        (folder / "model.plan").write_bytes(plan.serialized)
        (folder / "manifest.json").write_text(json.dumps(plan.machine), encoding="utf-8")
        return Engine(folder, precision, {name: [] for name in INPUTS})

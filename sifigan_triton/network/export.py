"""A generator as an ONNX or TorchScript file: the narrowing engine, or the full-length model for any length."""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from torch import nn

from preprocess import Settings, Voice, condition
from preprocess.names import DYNAMIC_INPUTS, ENGINE_OUTPUT, STATIC_INPUTS
from preprocess.windows import Windows, split
from sifigan_triton.files import write_file
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.narrowing_engine import NarrowingEngine
from sifigan_triton.network.precision import in_precision
from sifigan_triton.network.time_major_engine import FAST_CHANNELS, TimeMajorEngine

OPSET = 17

Array = npt.NDArray[Any]


def export_onnx(
    spec: EngineSpec,
    path: Path,
    dtype: torch.dtype = torch.float32,
    keep_fp32: Collection[str] = (),
) -> None:
    """Write the narrowing engine as one ONNX file with a dynamic batch axis.

    Args:
        spec: the voice and the engine's shape.
        path: file to write.
        dtype: type of the weights and activations; inputs, indices and output stay FP32 and INT32.
        keep_fp32: groups of layers that stay in FP32, see `sifigan_triton.network.precision.layer_groups`.

    """
    generator = in_precision(spec.generator, dtype, keep_fp32)
    _write_engine(NarrowingEngine(generator, spec.voice, spec.plan), spec.settings, path)


def export_cpu_onnx(spec: EngineSpec, path: Path, precision: str) -> None:
    """Write the narrowing engine in the form that is fastest on a CPU, as one ONNX file with a dynamic batch axis.

    Args:
        spec: the voice and the engine's shape.
        path: file to write; its weights are FP32.
        precision: in which the runtime will compute: `fp32`, or `bf16`, which bears no Toom-Cook convolutions.

    """
    fast_channels = FAST_CHANNELS if precision == "fp32" else None
    _write_engine(TimeMajorEngine(spec.generator, spec.voice, spec.plan, fast_channels), spec.settings, path)


def export_dynamic_onnx(
    spec: EngineSpec,
    path: Path,
    dtype: torch.dtype = torch.float32,
    keep_fp32: Collection[str] = (),
) -> None:
    """Write the full-length generator as one ONNX file for batches of utterances of any one length.

    Args:
        spec: the voice; the shape does not matter.
        path: file to write.
        dtype: type of the weights and activations; inputs, indices and output stay FP32 and INT32.
        keep_fp32: groups of layers that stay in FP32, see `sifigan_triton.network.precision.layer_groups`.

    """
    samples, frames = {0: "batch", 2: "samples"}, {0: "batch", 2: "frames"}
    axes = {"excitation": samples, "features": frames, "offsets": frames, ENGINE_OUTPUT: samples}
    _write_onnx(in_precision(spec.generator, dtype, keep_fp32).eval(), _dynamic_example(spec.voice), axes, path)


def export_torchscript(
    spec: EngineSpec,
    path: Path,
    dtype: torch.dtype = torch.float32,
    keep_fp32: Collection[str] = (),
) -> None:
    """Write the full-length generator as a TorchScript file; arguments as in `export_dynamic_onnx`."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that TorchScript is on its way out: Triton's PyTorch backend wants it
        example = tuple(map(torch.from_numpy, _dynamic_example(spec.voice).values()))
        model = in_precision(spec.generator, dtype, keep_fp32).eval()
        traced = torch.jit.trace(model, example, check_trace=False)  # type: ignore[no-untyped-call]
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
    write_file(path, buffer.getvalue())


def _write_engine(engine: NarrowingEngine, settings: Settings, path: Path) -> None:
    axes = {name: {0: "batch"} for name in (*STATIC_INPUTS, ENGINE_OUTPUT)}
    _write_onnx(engine.eval(), _example(settings), axes, path, samples=settings.window * settings.voice.hop_size)


def _write_onnx(
    model: nn.Module, example: dict[str, Array], axes: dict[str, dict[int, str]], path: Path, samples: int = 0
) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that are constants of the crop plan
        # The tracing exporter: the one based on torch.export gives the same results here and takes five times as long.
        torch.onnx.export(
            model,
            tuple(map(torch.from_numpy, example.values())),
            buffer,  # type: ignore[arg-type]  # the tracing exporter takes one
            input_names=list(example),
            output_names=[ENGINE_OUTPUT],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    if samples:  # a constant of the crop plan that the tracer does not see, and that runtimes check
        graph = onnx.load_from_string(buffer.getvalue())
        graph.graph.output[0].type.tensor_type.shape.dim[2].dim_value = samples
        write_file(path, graph.SerializeToString())
    else:
        write_file(path, buffer.getvalue())


def _example(settings: Settings) -> dict[str, Array]:
    """Return one window, with which to trace: FP16 takes a minute a window on a CPU."""
    f0 = np.full(settings.window, 200.0, np.float32)
    windows = split(*condition(f0, *seeded_features(settings.voice, f0.size), settings.voice), settings)
    return {name: getattr(windows, name) for name in STATIC_INPUTS}


def _dynamic_example(voice: Voice) -> dict[str, Array]:
    """Return a batch of two short utterances, with which to trace."""
    f0 = np.full(32, 200.0, np.float32)
    inputs = condition(f0, *seeded_features(voice, f0.size), voice)
    return {name: np.stack([values, values]) for name, values in zip(DYNAMIC_INPUTS, inputs, strict=True)}


def run_onnx(path: Path, windows: Windows) -> npt.NDArray[np.float32]:
    """Run an exported engine on a batch of windows in ONNX Runtime: float32 (n, 1, window * hop_size)."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    output: npt.NDArray[np.float32] = session.run(
        [ENGINE_OUTPUT], {name: getattr(windows, name) for name in STATIC_INPUTS}
    )[0]
    return output


def seeded_features(voice: Voice, frames: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Draw seeded features with the voice's own mean and scale: mcep (frames, 40) and bap (frames, 3), float32."""
    random = np.random.default_rng(0)
    drawn = []
    for statistics in (voice.mcep, voice.bap):
        noise = random.standard_normal((frames, len(statistics.mean)))
        drawn.append((noise * np.array(statistics.scale) + np.array(statistics.mean)).astype(np.float32))
    return drawn[0], drawn[1]

"""The narrowing engine as an ONNX model, and the check that it still says what the full-length generator says."""

from __future__ import annotations

import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch

from preprocess import Settings, condition
from preprocess.windows import Windows, split
from sifigan_triton.engine import NarrowingEngine
from sifigan_triton.generator import Generator
from sifigan_triton.halo import CropPlan

OPSET = 17
INPUTS = ("excitation", "features", "offsets", "bounds")
OUTPUT = "waveform"


class ExportError(RuntimeError):
    """An exported engine differs from the model it was made from."""


def export_onnx(
    generator: Generator, settings: Settings, plan: CropPlan, path: Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write the narrowing engine as one ONNX file with a dynamic batch axis.

    Args:
        generator: the voice's generator, FP32.
        settings: constants of the voice and the engine.
        plan: the engine's crop plan.
        path: file to write.
        dtype: type of the weights and activations; inputs, indices and output stay FP32 and INT32.

    """
    engine = NarrowingEngine(deepcopy(generator).to(dtype), settings.voice, plan).eval()
    voiced = np.full(settings.window * 2, 200.0, np.float32)
    example = split(*condition(voiced, *_quiet_features(settings, voiced.size), settings.voice), settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that are constants of the crop plan
        # The tracing exporter: the one based on torch.export gives the same results here and takes five times as long.
        torch.onnx.export(
            engine,
            tuple(torch.from_numpy(getattr(example, name)) for name in INPUTS),
            str(path),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={name: {0: "batch"} for name in (*INPUTS, OUTPUT)},
            opset_version=OPSET,
            dynamo=False,
        )


def run_onnx(path: Path, windows: Windows) -> npt.NDArray[np.float32]:
    """Run an exported engine on a batch of windows in ONNX Runtime: float32 (n, 1, window * hop_size)."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    output: npt.NDArray[np.float32] = session.run([OUTPUT], {name: getattr(windows, name) for name in INPUTS})[0]
    return output


def check_onnx(path: Path, generator: Generator, settings: Settings, bound_db: float) -> float:
    """Compare an exported engine, window by window, with the full-length generator.

    The test utterance has two windows, both ends of the utterance in them, an F0 that glides up from the engine's floor
    and seeded features.

    Returns:
        Signal-to-noise ratio in dB.

    Raises:
        ExportError: if it is below `bound_db` or not a number.

    """
    frames = settings.window + settings.window // 2 + 1
    f0 = np.geomspace(settings.f0_floor, 4.0 * settings.f0_floor, frames).astype(np.float32)
    f0 = np.maximum(f0, np.float32(settings.f0_floor))
    inputs = condition(f0, *_quiet_features(settings, frames), settings.voice)
    with torch.no_grad():
        reference = generator(*(torch.from_numpy(values)[None] for values in inputs))[0, 0].numpy()
    output = run_onnx(path, split(*inputs, settings)).reshape(-1)[: reference.size]
    snr = snr_db(reference, output)
    if not snr >= bound_db:
        raise ExportError(
            f"{path.name} scores {snr:.1f} dB against the full-length generator, expected at least {bound_db:g} dB: "
            f"this is a defect of the export, please report it with the voice's voice.json"
        )
    return snr


def snr_db(reference: npt.NDArray[np.float32], test: npt.NDArray[np.float32]) -> float:
    """Return the signal-to-noise ratio of `test` against `reference` in dB; NaN if either holds NaN."""
    signal = reference.astype(np.float64)
    noise = signal - test.astype(np.float64)
    with np.errstate(divide="ignore"):
        return float(10.0 * np.log10(np.sum(signal**2) / np.sum(noise**2)))


def _quiet_features(settings: Settings, frames: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Draw seeded mel-cepstra and band aperiodicities with the voice's own mean and scale."""
    random = np.random.default_rng(0)
    drawn = []
    for statistics in (settings.voice.mcep, settings.voice.bap):
        noise = random.standard_normal((frames, len(statistics.mean)))
        drawn.append((noise * np.array(statistics.scale) + np.array(statistics.mean)).astype(np.float32))
    return drawn[0], drawn[1]

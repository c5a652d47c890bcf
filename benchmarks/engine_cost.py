"""Table: what the narrowing engine costs a frame of output, beside the plain full-length model on the same runtimes.

    python -m benchmarks.engine_cost [--window 512] [--f0-floor 70] [--rounds 9]

One process, one run, candidates interleaved; medians over the rounds. The plain model sees 627 frames and yields 627;
the narrowing engine yields `window` frames. Also times preprocess + postprocess of 627 frames in the same rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import openvino as ov
import torch

from benchmarks.tracks import shipped
from postprocess import merge, to_pcm16
from preprocess import Settings, condition, preprocess
from sifigan_triton.export import INPUTS, OPSET, export_onnx
from sifigan_triton.generator import Generator
from sifigan_triton.halo import crop_plan
from sifigan_triton.voices import load_voice

FRAMES = 627
Inputs = dict[str, np.ndarray[Any, Any]]


def export_plain(generator: Generator, inputs: Inputs, path: Path) -> None:
    """Export the full-length generator as it is, for exactly these shapes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            generator,
            tuple(torch.from_numpy(values) for values in inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=["waveform"],
            opset_version=OPSET,
            dynamo=False,
        )


def openvino_runner(path: Path, inputs: Inputs, precision: str) -> Callable[[], Any]:
    """Compile a model for these shapes; returns what runs it once."""
    core = ov.Core()
    model = core.read_model(path)
    model.reshape({name: list(values.shape) for name, values in inputs.items()})
    properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    request = core.compile_model(model, "CPU", properties).create_infer_request()
    return lambda: request.infer(inputs)


def ort_runner(path: Path, inputs: Inputs) -> Callable[[], Any]:
    """Load a model into ONNX Runtime; returns what runs it once."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, default=Path("voices/random"))
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--f0-floor", type=float, default=70.0)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    voice, generator = load_voice(args.voice)
    plan = crop_plan(voice, args.window, args.f0_floor)
    settings = Settings(voice, plan.window, plan.halo, plan.f0_floor, 128)
    request = shipped(f"frames-{FRAMES}")[0]
    windows = preprocess(request.f0, request.mcep, request.bap, settings)
    narrow = {name: getattr(windows, name)[:1] for name in INPUTS}
    conditioned = condition(request.f0, request.mcep, request.bap, voice)
    plain = {name: values[None] for name, values in zip(INPUTS, conditioned, strict=False)}
    joined = np.zeros((len(windows.bounds), 1, args.window * voice.hop_size), np.float32)

    def pre_and_post() -> None:
        preprocess(request.f0, request.mcep, request.bap, settings)
        to_pcm16(merge(joined, FRAMES * voice.hop_size))

    with tempfile.TemporaryDirectory() as folder:
        plain_file, narrow_file = Path(folder, "plain.onnx"), Path(folder, "narrow.onnx")
        export_plain(generator, plain, plain_file)
        export_onnx(generator, settings, plan, narrow_file)
        precisions = ["f32"]
        if "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            precisions.append("bf16")
        runners: dict[tuple[str, str], tuple[Callable[[], Any], int]] = {}
        for precision in precisions:
            runners[f"OpenVINO {precision}", "plain"] = (openvino_runner(plain_file, plain, precision), FRAMES)
            runners[f"OpenVINO {precision}", "narrowing"] = (
                openvino_runner(narrow_file, narrow, precision),
                args.window,
            )
        runners["ONNX Runtime f32", "plain"] = (ort_runner(plain_file, plain), FRAMES)
        runners["ONNX Runtime f32", "narrowing"] = (ort_runner(narrow_file, narrow), args.window)
        tensors = [torch.from_numpy(values) for values in plain.values()]
        runners["PyTorch f32", "plain"] = (lambda: generator(*tensors), FRAMES)
        runners["NumPy", "preprocess + postprocess"] = (pre_and_post, FRAMES)
        seconds: dict[tuple[str, str], list[float]] = {key: [] for key in runners}
        for round_number in range(args.rounds + 1):
            for key, (run, _) in runners.items():
                started = time.perf_counter()
                run()
                if round_number:  # the first round warms up
                    seconds[key].append(time.perf_counter() - started)
    print_table(seconds, {key: frames for key, (_, frames) in runners.items()})


def print_table(seconds: dict[tuple[str, str], list[float]], frames: dict[tuple[str, str], int]) -> None:
    """Print medians, and each runtime's narrowing engine against its plain model, as Markdown."""
    print("| runtime | model | median ms a call | ms a frame of output | against plain |")
    print("| --- | --- | ---: | ---: | ---: |")
    each = {key: float(np.median(times)) / frames[key] * 1e3 for key, times in seconds.items()}
    for (runtime, model), times in seconds.items():
        ratio = f"{each[runtime, model] / each[runtime, 'plain']:.2f}" if (runtime, "plain") in each else ""
        print(f"| {runtime} | {model} | {np.median(times) * 1e3:.1f} | {each[runtime, model]:.3f} | {ratio} |")


if __name__ == "__main__":
    main()

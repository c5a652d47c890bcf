"""Table: what the engines cost a frame of output, beside TorchScript and the plain full-length model.

    python -m benchmarks.engine_cost [--window 512] [--f0-floor 70] [--rounds 9] [--all] [--one-thread] [--profile]

One process, one run, candidates interleaved; medians and lower quartiles over the rounds. The plain model sees 627
frames and yields 627; the narrowing engines yield `window`. `--all` adds ONNX Runtime and the plain model in OpenVINO,
`--profile` what OpenVINO spends on each type of node. On a machine that others use, `--one-thread` counts seconds of
one CPU instead of the clock's. Also times preprocess + postprocess of 627 frames in the same rounds.

Another process exports the models: as in a server, the one that is timed has only loaded them. In a process that has
exported before, TorchScript, which allocates while it runs, is faster.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import openvino as ov
import torch

from benchmarks.tracks import shipped
from postprocess import merge, to_pcm16
from preprocess import condition, preprocess
from preprocess.names import STATIC_INPUTS
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.export import OPSET, export_cpu_onnx, export_onnx, export_torchscript
from sifigan_triton.network.generator import Generator
from sifigan_triton.repository.runtimes.pt_runtime import Engine as TorchScript
from sifigan_triton.voice.folder import load_voice

FRAMES = 627
Inputs = dict[str, np.ndarray[Any, Any]]
Runners = dict[tuple[str, str], tuple[Callable[[], Any], int]]
"""(runtime, model) -> what runs it once, frames of output."""


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


def export_models(voice_folder: Path, window: int, f0_floor: float, plain: Inputs | None, folder: Path) -> None:
    """Export what is timed, the plain model for ONNX only if its inputs are given."""
    spec = EngineSpec(*load_voice(voice_folder), window, f0_floor)
    with torch.no_grad():
        export_torchscript(spec, folder / "model.pt")
        export_onnx(spec, folder / "narrowing.onnx")
        for precision in _precisions():
            path = folder / f"time-major-{precision}.onnx"
            export_cpu_onnx(spec, path, {"f32": "fp32"}.get(precision, precision))
        if plain is not None:
            export_plain(spec.generator, plain, folder / "plain.onnx")


def openvino_runner(
    path: Path, inputs: Inputs, precision: str, threads: int = 0, profile: bool = False
) -> Callable[[], Any]:
    """Compile a model for these shapes; returns what runs it once. `threads` 0: as many as the runtime takes."""
    core = ov.Core()
    model = core.read_model(path)
    model.reshape({name: list(values.shape) for name, values in inputs.items()})
    properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    properties |= {"PERF_COUNT": profile} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    request = core.compile_model(model, "CPU", properties).create_infer_request()
    if profile:
        return lambda: (request.infer(inputs), request.profiling_info)[1]
    return lambda: request.infer(inputs)


def print_profile(path: Path, inputs: Inputs, threads: int) -> None:
    """Print the time of each type of node in OpenVINO, as Markdown."""
    times: dict[tuple[str, str], list[float]] = {}
    run = openvino_runner(path, inputs, "f32", threads, profile=True)
    run()
    for node in run():
        if node.real_time:
            times.setdefault((node.node_type, node.exec_type), []).append(node.real_time.total_seconds() * 1e3)
    print(f"\n| {path.stem}: node | kernel | number | ms |\n| --- | --- | ---: | ---: |")
    for (kind, kernel), each in sorted(times.items(), key=lambda item: -sum(item[1])):
        print(f"| {kind} | {kernel} | {len(each)} | {sum(each):.1f} |")


def ort_runner(path: Path, inputs: Inputs, threads: int) -> Callable[[], Any]:
    """Load a model into ONNX Runtime; returns what runs it once."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, default=Path("voices/random"))
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--f0-floor", type=float, default=70.0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--one-thread", action="store_true")
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    threads = int(args.one_thread)
    if threads:
        torch.set_num_threads(threads)
    spec = EngineSpec(*load_voice(args.voice), args.window, args.f0_floor)
    voice, settings = spec.voice, spec.settings
    request = shipped(f"frames-{FRAMES}")[0]
    windows = preprocess(request.f0, request.mcep, request.bap, settings)
    narrow = {name: getattr(windows, name)[:1] for name in STATIC_INPUTS}
    conditioned = condition(request.f0, request.mcep, request.bap, voice)
    plain = {name: values[None] for name, values in zip(STATIC_INPUTS, conditioned, strict=False)}
    joined = np.zeros((len(windows.bounds), 1, args.window * voice.hop_size), np.float32)

    def pre_and_post() -> None:
        preprocess(request.f0, request.mcep, request.bap, settings)
        to_pcm16(merge(joined, FRAMES * voice.hop_size))

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        plain_inputs = plain if args.all else None
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            pool.submit(export_models, args.voice, args.window, args.f0_floor, plain_inputs, scratch).result()
        torchscript = TorchScript(scratch, "fp32", {name: [] for name in plain})
        runners: Runners = {("TorchScript f32", "plain"): (lambda: torchscript.run(plain), FRAMES)}
        for precision in _precisions():
            for model in ("narrowing", f"time-major-{precision}"):
                run = openvino_runner(scratch / f"{model}.onnx", narrow, precision, threads)
                runners[f"OpenVINO {precision}", model] = (run, args.window)
        if args.all:
            runners["OpenVINO f32", "plain"] = (openvino_runner(scratch / "plain.onnx", plain, "f32", threads), FRAMES)
            for model, inputs, frames in (("plain", plain, FRAMES), ("narrowing", narrow, args.window)):
                runners["ONNX Runtime f32", model] = (ort_runner(scratch / f"{model}.onnx", inputs, threads), frames)
        runners["NumPy", "preprocess + postprocess"] = (pre_and_post, FRAMES)
        clock = time.process_time if threads else time.perf_counter
        print_table(measure(runners, args.rounds, clock), {key: frames for key, (_, frames) in runners.items()})
        if args.profile:
            for model in ("narrowing", "time-major-f32"):
                print_profile(scratch / f"{model}.onnx", narrow, threads)


def _precisions() -> list[str]:
    """Return OpenVINO's names of what this CPU computes in."""
    return ["f32", *(["bf16"] if "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else [])]


def measure(runners: Runners, rounds: int, clock: Callable[[], float]) -> dict[tuple[str, str], list[float]]:
    """Run all candidates in turn, `rounds` times and once before to warm up; returns their seconds."""
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in runners}
    for round_number in range(rounds + 1):
        for key, (run, _) in runners.items():
            started = clock()
            run()
            if round_number:
                seconds[key].append(clock() - started)
    return seconds


def print_table(seconds: dict[tuple[str, str], list[float]], frames: dict[tuple[str, str], int]) -> None:
    """Print medians and lower quartiles, and how many times as fast as TorchScript each is, as Markdown."""
    print("| runtime | model | median ms a call | ms a frame | lower quartile | times TorchScript, median | quartile |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    first = next(iter(seconds))
    for key, times in seconds.items():
        median, low = np.median(times), np.quantile(times, 0.25)
        base = np.array([np.median(seconds[first]), np.quantile(seconds[first], 0.25)]) / frames[first]
        ratios = base / (np.array([median, low]) / frames[key])
        print(
            f"| {key[0]} | {key[1]} | {median * 1e3:.1f} | {median / frames[key] * 1e3:.3f} | "
            f"{low / frames[key] * 1e3:.3f} | {ratios[0]:.2f} | {ratios[1]:.2f} |"
        )


if __name__ == "__main__":
    main()

"""Table: the bare engines on an NVIDIA GPU, each against the full-length FP32 model on the CPU.

    python -m benchmarks.gpu_engines [--device cuda] [--voice FOLDER] [--channels 512] [--window 512] [--f0-floor 70]
        [--rounds 20] [--batches 1 2 4 8 16] [--output build/gpu]

Candidates: the full-length generator at 627 frames and the narrowing engine in batches of windows, in PyTorch (FP32,
FP32 with TF32 convolutions, FP16), step by step and as CUDA graphs; TensorRT and TensorRT-RTX where they are installed
and know the GPU. One process, candidates interleaved, medians of the rounds, times of the GPU's own clock, inputs
already on the GPU. Writes engines.json and engines.md. On a CPU (`--device cpu`) there are no CUDA graphs and no TF32.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.gpu_bench import Array, Bench, Candidate, Row, Run, measure
from sifigan_triton.measure.machine import describe_machine
from sifigan_triton.network.generator import Generator
from sifigan_triton.network.narrowing_engine import NarrowingEngine
from sifigan_triton.network.precision import in_precision

PRECISIONS = {"FP32": torch.float32, "TF32": torch.float32, "FP16": torch.float16}


def torch_candidates(bench: Bench, batches: list[int], graphs: bool) -> Iterator[Candidate]:
    """Give PyTorch's candidates, step by step or as CUDA graphs."""
    runtime = "PyTorch, CUDA graph" if graphs else "PyTorch"
    for precision, dtype in PRECISIONS.items():
        if precision == "TF32" and bench.device.type == "cpu":
            continue
        generator: Generator = in_precision(bench.generator, dtype).to(bench.device).eval()
        engine = NarrowingEngine(generator, bench.voice, bench.spec.plan).to(bench.device).eval()
        full = [x.to(bench.device) for x in bench.full]
        run = _runner(generator, full, precision, graphs)
        yield Candidate(runtime, "full length", precision, 1, bench.frames, run, partial(_waveform, bench, run))
        whole = _runner(engine, bench.batch(len(bench.windows.bounds)), precision, False)
        for count in batches:
            run = _runner(engine, bench.batch(count), precision, graphs)
            frames = count * bench.settings.window
            yield Candidate(runtime, "narrowing", precision, count, frames, run, partial(_waveform, bench, whole))


def _waveform(bench: Bench, run: Run) -> Array:
    return bench.join(run())


def _runner(model: torch.nn.Module, inputs: list[Tensor], precision: str, graphs: bool) -> Run:
    """Return what runs a model once; captured as a CUDA graph if asked for."""

    def run() -> Tensor:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "TF32"
        output: Tensor = model(*inputs)
        return output

    if not graphs:
        return run
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # kernels are chosen and memory is allocated before the capture
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = run()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


def format_rows(rows: list[Row], machine: dict[str, str], remarks: list[str]) -> str:
    """Return the rows as Markdown, with the machine above and what could not be run below."""
    lines = [", ".join(f"{key} {value}" for key, value in machine.items()), ""]
    lines += ["| runtime | model | precision | batch | frames | median ms | quartiles ms | audio s/s | SNR dB |"]
    lines += ["| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {r.runtime} | {r.model} | {r.precision} | {r.batch} | {r.frames} | {r.median_ms:.2f} | {r.spread_ms:.2f} "
        f"| {r.audio_seconds_per_second:.0f} | {r.snr_db:.1f} |"
        for r in rows
    ]
    return "\n".join([*lines, *(f"\n- {remark}" for remark in remarks)]) + "\n"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--voice", type=Path, help="voice folder (default: random weights)")
    parser.add_argument("--channels", type=int, default=512, help="of the random voice")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--f0-floor", type=float, default=70.0)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--output", type=Path, default=Path("build/gpu"))
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    bench = Bench(args)
    candidates = list(torch_candidates(bench, args.batches, graphs=False))
    remarks: list[str] = []
    if args.device == "cuda":
        from benchmarks.gpu_tensorrt import tensorrt_candidates

        candidates += torch_candidates(bench, args.batches, graphs=True)
        candidates += tensorrt_candidates(bench, args.batches, remarks)
    rows, machine = measure(candidates, bench, args.rounds), describe_machine()
    text = format_rows(rows, machine, remarks)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "engines.md").write_text(text, encoding="utf-8")
    content = {"machine": machine, "rows": [asdict(row) for row in rows], "remarks": remarks}
    (args.output / "engines.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

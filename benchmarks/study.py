"""The performance study, repeated: every engine that this machine can build, bare and behind the ensemble.

    make study        (python -m benchmarks.study [--voice voices/random] [--requests 5] [--rounds 2])

Builds the engines into `build/study` with a window of 627 frames, so that the study's request, 3.135 s of singing, is
exactly one window of a static engine; serves them with the wheel's Triton; lets perf_analyzer measure each engine over
gRPC, one request at a time, first bare (the engine's own tensors) and then behind its ensemble (the features); goes
through all engines before it begins again; takes the median over the rounds; and writes the table between the marks of
`docs/notes/performance.md`, beside the study's own table and the figures of the quality gate.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.tracks import DATA, shipped
from preprocess import Settings, preprocess
from sifigan_triton.build.build import BuildOptions, build
from sifigan_triton.build.manifest import read_manifest
from sifigan_triton.build.options import all_engines, cpu_has_bf16
from sifigan_triton.measure.document import Section
from sifigan_triton.measure.machine import describe_machine
from sifigan_triton.measure.perf_analyzer import PerfResult, PerfSettings, run
from sifigan_triton.network.crop_plan import crop_plan
from sifigan_triton.repository.configs import window_tensors
from sifigan_triton.repository.engine_kinds import ENGINES, EngineKind
from sifigan_triton.repository.staging import VERSION, servable_models
from sifigan_triton.server.triton_server import TritonServer
from sifigan_triton.voice.folder import load_voice

FRAMES = 627
F0_FLOOR = 70.0
REQUEST = DATA / f"frames-{FRAMES}.json"
SECTION = Section(Path("docs/notes/performance.md"), "<!-- study: written by `make study` -->", "<!-- study: end -->")
PACKAGES = ("torch", "onnxruntime", "openvino", "nvidia-pytriton", "tritonclient")

STUDY = {"pt-fp32": 21.5, "onnx-fp32": 17.7, "trt-fp32": 27.9, "pt-fp16": 38.9, "onnx-fp16": 36.8, "trt-fp16": 63.7}
"""Requests a second that the study measured on an unnamed GPU: bare engines, batch 1, 627 frames."""
NOT_HERE = {
    "trt-fp32": "needs TensorRT and an NVIDIA GPU",
    "trt-fp16": "needs TensorRT and an NVIDIA GPU",
    "pt-fp16": "PyTorch takes eight times as long in FP16 as in FP32 on a CPU",
    "openvino-bf16": "this CPU has no BF16: it would be openvino-fp32",
}


@dataclass
class Row:
    """What was measured of one engine."""

    kind: EngineKind
    bare: list[PerfResult] = field(default_factory=list)
    ensemble: list[PerfResult] = field(default_factory=list)


def engines_here() -> tuple[EngineKind, ...]:
    """Return the engines to measure on this machine: those that can be built and compute in their own precision."""
    left_out = set() if torch.cuda.is_available() else {"pt-fp16"}
    if not cpu_has_bf16(Path("/proc/cpuinfo").read_text(encoding="utf-8")):
        left_out.add("openvino-bf16")
    return tuple(kind for kind in all_engines() if kind.name not in left_out)


def write_bare_request(path: Path, settings: Settings, kind: EngineKind) -> None:
    """Write what an engine gets for the study's request as a file for perf_analyzer; it must be one window."""
    (request,) = shipped(f"frames-{FRAMES}")
    windows = preprocess(request.f0, request.mcep, request.bap, replace(settings, dynamic=not kind.static))
    entry = {}
    for tensor in window_tensors(settings, kind.static):
        (values,) = getattr(windows, tensor.name)
        content = base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
        entry[tensor.name] = {"content": {"b64": content}, "shape": list(values.shape)}
    path.write_text(json.dumps({"data": [entry]}), encoding="ascii")


def measure(voice_folder: Path, folder: Path, requests: int, rounds: int) -> list[Row]:
    """Build, serve and measure."""
    kinds = engines_here()
    repository = folder / "models"
    options = BuildOptions(voice_folder, repository, kinds, window=FRAMES, f0_floor=F0_FLOOR, max_batch_size=8)
    build(options, report=lambda line: print(line, flush=True))
    voice, _ = load_voice(voice_folder)
    settings = Settings(voice, FRAMES, crop_plan(voice, FRAMES, F0_FLOOR).halo, F0_FLOOR, options.max_batch_size)
    rows = [Row(kind) for kind in kinds]
    how = PerfSettings(requests=requests)
    models = servable_models(repository)
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, models=models) as server:
        for number in range(1, rounds + 1):
            for row in rows:
                print(f"round {number} of {rounds}: {row.kind.name}", flush=True)
                bare = folder / f"{'static' if row.kind.static else 'dynamic'}.json"
                write_bare_request(bare, settings, row.kind)
                row.bare.append(run(row.kind.model, server.grpc_url, "grpc", bare, 1, how))
                row.ensemble.append(run(row.kind.ensemble, server.grpc_url, "grpc", REQUEST, 1, how))
    return rows


def format_rows(rows: list[Row], repository: Path) -> str:
    """Return the tables as Markdown: speed beside the study's, then quality."""
    base = next(row for row in rows if row.kind.name == "pt-fp32")
    base_rate = _median(base.bare, "throughput")
    lines = [
        "| engine | the study, infer/s | against its pt-fp32 | here, bare, infer/s | against pt-fp32 | p50 ms | p95 ms "
        "| ensemble, infer/s | p50 ms | p95 ms | audio s/s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    measured = {row.kind.name: row for row in rows}
    for kind in ENGINES.values():
        study = STUDY.get(kind.name)
        cells = [kind.name, *(("", "") if study is None else (f"{study:.1f}", f"{study / STUDY['pt-fp32']:.2f}"))]
        row = measured.get(kind.name)
        if row is None:
            cells += [f"not run: {NOT_HERE.get(kind.name, 'not built here')}", *[""] * 7]
        else:
            rate, served = _median(row.bare, "throughput"), _median(row.ensemble, "throughput")
            cells += [f"{rate:.2f}{_mark(row.bare)}", f"{rate / base_rate:.2f}"]
            cells += [f"{_median(row.bare, name):.0f}" for name in ("p50_ms", "p95_ms")]
            cells += [
                f"{served:.2f}{_mark(row.ensemble)}",
                *(f"{_median(row.ensemble, name):.0f}" for name in ("p50_ms", "p95_ms")),
            ]
            cells.append(f"{served * FRAMES * 0.005:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_quality(rows, repository)])


def _mark(results: list[PerfResult]) -> str:
    """Mark what perf_analyzer did not find stable."""
    return "" if all(result.stable for result in results) else "~"


def _median(results: list[PerfResult], name: str) -> float:
    return statistics.median(getattr(result, name) for result in results)


def _quality(rows: list[Row], repository: Path) -> list[str]:
    """Return the worst figures of each engine's quality gate as a Markdown table."""
    qualities = {row.kind.name: read_manifest(repository / row.kind.model / VERSION)["quality"] for row in rows}
    names = list(next(iter(qualities.values()))["overall"])
    lines = [f"| engine | judged on | {' | '.join(names)} |", f"| --- | --- |{' ---: |' * len(names)}"]
    for name, quality in qualities.items():
        what = "its edges" if ENGINES[name].precision == "fp32" else "`measurement_data`"
        equal = all(utterance["identical"] for utterance in quality["utterances"])
        figures = ["equal" if equal and key == "snr" else _figure(quality["overall"][key]) for key in names]
        lines.append(f"| {name} | {what} | {' | '.join(figures)} |")
    if not all(quality["pitched"] for quality in qualities.values()):
        lines += [
            "",
            "A voice whose output is noise is judged by finite samples and SNR only; the empty columns need a pitch.",
        ]
    return lines


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def describe_run(voice: str) -> str:
    """Return one paragraph: what was run, date, hardware, versions."""
    facts = ", ".join(f"{key} {value}" for key, value in describe_machine(PACKAGES).items())
    return f"Taken by `make study`: {facts}; voice `{voice}`."


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, default=Path("voices/random"))
    parser.add_argument("--requests", type=int, default=5, help="requests in a window of perf_analyzer, at least")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("build/study"))
    args: Any = parser.parse_args(arguments)
    SECTION.around()  # before anything is measured
    args.folder.mkdir(parents=True, exist_ok=True)
    rows = measure(args.voice, args.folder, args.requests, args.rounds)
    tables = format_rows(rows, args.folder / "models")
    print(tables)
    SECTION.write(f"{describe_run(args.voice.name)}\n\n{tables}")


if __name__ == "__main__":
    main()

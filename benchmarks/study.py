"""The performance study, repeated: every engine that this machine can build, bare and behind the ensemble.

    make study        (python -m benchmarks.study [--voice voices/random] [--requests 5] [--rounds 3])

Builds the engines into `build/study` with a window of 627 frames, so that the study's request, 3.135 s of singing, is
exactly one window of a static engine; serves them with the wheel's Triton; lets perf_analyzer measure each engine over
gRPC, one request at a time, first bare (the engine's own tensors) and then behind its ensemble (the features), through
all engines before it begins again, as `sifigan-triton benchmark` does; and writes the table between the marks of
`docs/notes/performance.md`, beside the study's own table and the figures of the quality gate.
"""

from __future__ import annotations

import argparse
import json
import logging
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.tracks import DATA, shipped
from preprocess import Settings, preprocess
from sifigan_triton.build.model_repository import BuildOptions, build
from sifigan_triton.build.options import all_engines, cpu_has_bf16
from sifigan_triton.features.requests import encode_tensor
from sifigan_triton.measure.bare_engine import read_settings
from sifigan_triton.measure.machine import describe_machine
from sifigan_triton.measure.plan import Schedule
from sifigan_triton.measure.report import Section
from sifigan_triton.measure.row import Case, Row
from sifigan_triton.measure.run import Bench
from sifigan_triton.measure.workload import Workload
from sifigan_triton.repository.engine_kinds import ENGINES, EngineKind
from sifigan_triton.repository.model_config import window_tensors
from sifigan_triton.repository.servable import VERSION, find_servable, read_manifest
from sifigan_triton.server.triton_server import TritonServer

FRAMES = 627
F0_FLOOR = 70.0
REQUEST = DATA / f"frames-{FRAMES}.json"
SECTION = Section(Path("docs/notes/performance.md"), "<!-- study: written by `make study` -->", "<!-- study: end -->")
FRAME_PERIOD_S = 0.005

STUDY = {"pt-fp32": 21.5, "onnx-fp32": 17.7, "trt-fp32": 27.9, "pt-fp16": 38.9, "onnx-fp16": 36.8, "trt-fp16": 63.7}
"""Requests a second that the study measured on an unnamed GPU: bare engines, batch 1, 627 frames."""
NOT_HERE = {
    "trt-fp32": "needs TensorRT and an NVIDIA GPU",
    "trt-fp16": "needs TensorRT and an NVIDIA GPU",
    "pt-fp16": "PyTorch takes eight times as long in FP16 as in FP32 on a CPU",
    "openvino-bf16": "this CPU has no BF16: it would be openvino-fp32",
}


@dataclass(frozen=True)
class Pair:
    """What was measured of one engine."""

    kind: EngineKind
    bare: Row
    ensemble: Row


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
        entry[tensor.name] = encode_tensor(values)
    path.write_text(json.dumps({"data": [entry]}), encoding="ascii")


def measure(voice_folder: Path, folder: Path, requests: int, rounds: int) -> list[Pair]:
    """Build, serve and measure."""
    kinds = engines_here()
    repository = folder / "models"
    options = BuildOptions(voice_folder, repository, kinds, window=FRAMES, f0_floor=F0_FLOOR, max_batch_size=8)
    build(options)
    request = Workload.read(REQUEST)
    cases: list[Case] = []
    for kind in kinds:
        path = folder / f"{'static' if kind.static else 'dynamic'}.json"
        write_bare_request(path, read_settings(repository, kind.ensemble), kind)
        cases.append(Case(kind.model, Workload("window", path, (FRAMES,)), "grpc"))
        cases.append(Case(kind.ensemble, request, "grpc"))
    models = find_servable(repository).models
    with (
        TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, models=models) as server,
        closing(Bench(server, {}, Schedule(rounds, requests))) as bench,
    ):
        seen = bench.measure(cases)
    rows = {case.model: Row(case, slices, None, FRAME_PERIOD_S, None) for case, slices in seen.items()}
    return [Pair(kind, rows[kind.model], rows[kind.ensemble]) for kind in kinds]


def format_pairs(pairs: list[Pair], repository: Path) -> str:
    """Return the tables as Markdown: speed beside the study's, then quality."""
    measured = {pair.kind.name: pair for pair in pairs}
    base_rate = measured["pt-fp32"].bare.requests_per_second.median
    lines = [
        "| engine | the study, infer/s | against its pt-fp32 | here, bare, infer/s | against pt-fp32 | p50 ms | p95 ms "
        "| ensemble, infer/s | p50 ms | p95 ms | audio s/s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind in ENGINES.values():
        study = STUDY.get(kind.name)
        cells = [kind.name, *(("", "") if study is None else (f"{study:.1f}", f"{study / STUDY['pt-fp32']:.2f}"))]
        pair = measured.get(kind.name)
        if pair is None:
            cells += [f"not run: {NOT_HERE.get(kind.name, 'not built here')}", *[""] * 7]
        else:
            ratio = pair.bare.requests_per_second.median / base_rate
            cells += [str(pair.bare.requests_per_second), f"{ratio:.2f}", *_latencies(pair.bare)]
            cells += [str(pair.ensemble.requests_per_second), *_latencies(pair.ensemble)]
            cells.append(f"{pair.ensemble.audio_seconds_per_second.median:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_quality(pairs, repository)])


def _latencies(row: Row) -> list[str]:
    return [f"{row.latency_ms[name]:.0f}" for name in ("p50", "p95")]


def _quality(pairs: list[Pair], repository: Path) -> list[str]:
    """Return the worst figures of each engine's quality gate as a Markdown table."""
    qualities = {p.kind.name: read_manifest(repository / p.kind.model / VERSION)["quality"] for p in pairs}
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
    facts = ", ".join(f"{key} {value}" for key, value in describe_machine().items())
    return f"Taken by `make study`: {facts}; voice `{voice}`."


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, default=Path("voices/random"))
    parser.add_argument("--requests", type=int, default=5, help="requests of an engine in a round, at least")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("build/study"))
    args: Any = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # what the build says
    SECTION.around()  # before anything is measured
    args.folder.mkdir(parents=True, exist_ok=True)
    pairs = measure(args.voice, args.folder, args.requests, args.rounds)
    tables = format_pairs(pairs, args.folder / "models")
    print(tables)
    SECTION.write(f"{describe_run(args.voice.name)}\n\n{tables}")


if __name__ == "__main__":
    main()

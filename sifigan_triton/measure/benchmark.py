"""A whole benchmark: from a model repository to rows, and to the files that hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from sifigan_triton.features.requests import read_requests
from sifigan_triton.measure.bare_engine import BareEngine, read_settings
from sifigan_triton.measure.case import IN_PROCESS, BenchmarkProtocol, Case, Slice
from sifigan_triton.measure.chart import draw_chart
from sifigan_triton.measure.machine import describe_machine
from sifigan_triton.measure.row import Row
from sifigan_triton.measure.run import Bench, Schedule
from sifigan_triton.measure.table import format_table
from sifigan_triton.measure.workload import make_workload
from sifigan_triton.repository.engine_kinds import ENGINES, EngineKind
from sifigan_triton.repository.servable import VERSION
from sifigan_triton.server.triton_server import TritonServer

PACKAGES = ("torch", "onnxruntime", "openvino", "nvidia-pytriton", "tritonclient")


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is measured."""

    repository: Path
    engines: tuple[EngineKind, ...]
    lengths: tuple[int, ...] = (100, 627, 1820)
    """Frames of a request, measured one by one with clients that wait, all mixed with Poisson arrivals."""
    concurrency: tuple[int, ...] = (1, 4)
    protocols: tuple[BenchmarkProtocol, ...] = ("http", "grpc", "grpc-shm")
    utilization: tuple[float, ...] = (0.5, 0.8)
    """Shares of one client's rate for Poisson arrivals, over the last protocol."""
    schedule: Schedule = field(default_factory=Schedule)
    recording: Path = Path("measurement_data/long.json")


def built_engines(repository: Path) -> tuple[EngineKind, ...]:
    """Return the engines whose ensembles a repository holds."""
    return tuple(kind for kind in ENGINES.values() if (repository / kind.ensemble / VERSION).is_dir())


def plan_cases(options: BenchmarkOptions) -> list[Case]:
    """Return the cases in the order of a round: each engine's bare run stands next to what it is compared with.

    Raises:
        ValueError: if there is nothing to measure, naming what was found.
        OSError: if the recording or the engine's constants cannot be read.

    """
    source = read_requests(options.recording)[0]
    built = built_engines(options.repository)
    missing = [kind.name for kind in options.engines if kind not in built]
    if missing or not options.engines:
        raise ValueError(
            f"{options.repository} has no ensemble of {', '.join(missing) or 'any engine'}, found "
            f"{', '.join(kind.name for kind in built) or 'none'}: build with build_engines.py --engine"
        )
    cases: list[Case] = []
    for kind in options.engines:
        floor = read_settings(options.repository, kind).f0_floor
        for length in options.lengths:
            workload = make_workload(source, (length,), floor)
            cases.append(Case(kind, workload, IN_PROCESS))
            cases += [
                Case(kind, workload, protocol, clients)
                for clients in options.concurrency
                for protocol in options.protocols
            ]
        mixed = make_workload(source, options.lengths, floor)
        cases += [Case(kind, mixed, options.protocols[-1], utilization=share) for share in options.utilization]
    return cases


def run_benchmark(options: BenchmarkOptions, report: Callable[[str], None]) -> list[Row]:
    """Serve, measure and summarise.

    Args:
        options: what is measured.
        report: called with lines that outlast the progress bar.

    Raises:
        ValueError: if there is nothing to measure.

    """
    cases = plan_cases(options)
    settings = {kind.name: read_settings(options.repository, kind) for kind in options.engines}
    engines = {kind.name: BareEngine(options.repository, kind, settings[kind.name]) for kind in options.engines}
    models = [kind.ensemble for kind in options.engines]
    seen: dict[Case, list[Slice]] = {case: [] for case in cases}
    with (
        TritonServer(options.repository, http_port=0, grpc_port=0, metrics_port=0, models=models) as server,
        closing(Bench(server, engines, options.schedule)) as bench,
        tqdm(total=len(cases) * (options.schedule.rounds + 1), unit="slice", dynamic_ncols=True) as bar,
    ):
        report(f"{len(cases)} cases, {options.schedule.rounds} rounds, engines {', '.join(engines)}")

        def progress(line: str) -> None:
            bar.set_description(line)
            bar.update()

        for _, case, one in bench.measure(cases, progress):
            seen[case].append(one)
    bare = {(case.kind, case.workload): slices for case, slices in seen.items() if case.protocol == IN_PROCESS}
    return [
        _row(case, slices, bare.get((case.kind, case.workload)), settings[case.kind.name].seconds(1), options)
        for case, slices in seen.items()
    ]


def _row(
    case: Case, slices: Sequence[Slice], bare: Sequence[Slice] | None, seconds: float, options: BenchmarkOptions
) -> Row:
    window = read_settings(options.repository, case.kind).window if case.kind.static else None
    return Row(case, slices, None if case.protocol == IN_PROCESS else bare, seconds, window)


def write_results(folder: Path, rows: Sequence[Row], options: BenchmarkOptions) -> str:
    """Write benchmark.json, benchmark.md and benchmark.png; return the Markdown.

    Args:
        folder: where to; made if missing.
        rows: what was measured.
        options: how it was measured.

    Raises:
        OSError: if a file cannot be written.

    """
    folder.mkdir(parents=True, exist_ok=True)
    machine = describe_machine(PACKAGES)
    settings = read_settings(options.repository, options.engines[0])
    how = (
        f"{options.schedule.rounds} interleaved rounds of at least {options.schedule.requests} requests a row, warmed "
        f"up; voice `{settings.voice.name}`, {settings.voice.generator.channels} channels, window {settings.window}, "
        f"F0 floor {settings.f0_floor:g} Hz. {', '.join(f'{key} {value}' for key, value in machine.items())}."
    )
    text = f"{how}\n\n{format_table(rows)}"
    content = {"machine": machine, "how": how, "rows": [row.as_dict() for row in rows]}
    (folder / "benchmark.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / "benchmark.md").write_text(text + "\n", encoding="utf-8")
    draw_chart(folder / "benchmark.png", rows)
    return text

"""What is measured: models x requests x loads x protocols, in the order of a round."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sifigan_triton.features.requests import measurement_file, read_requests
from sifigan_triton.measure.bare_engine import read_settings
from sifigan_triton.measure.row import IN_PROCESS, BenchmarkProtocol, Case
from sifigan_triton.measure.workload import Workload
from sifigan_triton.repository.engine_kinds import ENGINES, EngineKind
from sifigan_triton.repository.servable import VERSION

UTILIZATION = (0.5, 0.8)
"""Loads with Poisson arrivals where requests are cut from a recording; files are sent by waiting clients only."""


@dataclass(frozen=True)
class Schedule:
    """How much of each case is measured."""

    rounds: int = 3
    requests: int = 6
    """Requests of a case in a round, at least; two for each client in any case, and each of a file as often."""
    seed: int = 0
    """Seed of the arrivals and of the order of mixed lengths."""


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is measured."""

    repository: Path
    engines: tuple[EngineKind, ...] = ()
    """Their ensembles are measured beside the bare engines, which run in this process."""
    models: tuple[str, ...] = ()
    """Ensembles that are measured alone."""
    files: tuple[Path, ...] = ()
    """Requests in perf_analyzer's JSON format, sent as they are; none: requests are cut from the recording."""
    lengths: tuple[int, ...] = (100, 627, 1820)
    """Frames of a request that is cut, measured one by one with clients that wait, all mixed with Poisson arrivals."""
    concurrency: tuple[int, ...] = (1, 4)
    protocols: tuple[BenchmarkProtocol, ...] = ("http", "grpc", "grpc-shm")
    utilization: tuple[float, ...] | None = None
    """Shares of one client's rate for Poisson arrivals, over the last protocol; None: `UTILIZATION`, of files none."""
    schedule: Schedule = field(default_factory=Schedule)
    recording: Path = field(default_factory=lambda: measurement_file("long.json"))

    @property
    def ensembles(self) -> dict[str, EngineKind | None]:
        """Models that are measured, each with its engine if that is measured too."""
        return {kind.ensemble: kind for kind in self.engines} | dict.fromkeys(self.models)

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of one client's rate for Poisson arrivals."""
        if self.utilization is None:
            return () if self.files else UTILIZATION
        return self.utilization


def built_engines(repository: Path) -> tuple[EngineKind, ...]:
    """Return the engines whose ensembles a repository holds."""
    return tuple(kind for kind in ENGINES.values() if (repository / kind.ensemble / VERSION).is_dir())


def plan_cases(options: BenchmarkOptions, folder: Path) -> list[Case]:
    """Return the cases in the order of a round: each engine's bare run stands next to what it is compared with.

    Args:
        options: what is measured.
        folder: where the files of requests that are cut are written; they are needed as long as the cases.

    Raises:
        ValueError: if there is nothing to measure, naming what was found, or a file holds no requests.
        OSError: if a file, the recording or the engine's constants cannot be read.

    """
    if not options.ensembles:
        raise ValueError(
            f"{options.repository} has no engine's ensemble to measure: build with sifigan-triton build --engine"
        )
    files = [Workload.read(path) for path in options.files]
    cases: list[Case] = []
    for model, kind in options.ensembles.items():
        floor = read_settings(options.repository, model).f0_floor
        workloads, mixed = files, files
        if not files:
            source = read_requests(options.recording)[0]
            workloads = [Workload.cut(folder, source, (length,), floor) for length in options.lengths]
            mixed = [Workload.cut(folder, source, options.lengths, floor)]
        for workload in workloads:
            if kind is not None:
                cases.append(Case(model, workload, IN_PROCESS, kind=kind))
            cases += [
                Case(model, workload, protocol, clients, kind=kind)
                for clients in options.concurrency
                for protocol in options.protocols
            ]
        cases += [
            Case(model, workload, options.protocols[-1], utilization=share, kind=kind)
            for workload in mixed
            for share in options.shares
        ]
    return cases

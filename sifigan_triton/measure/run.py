"""One run: all cases in turn, round after round, so that what else happens on the machine meets all of them."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sifigan_triton.client import SifiganClient
from sifigan_triton.client.shared_memory import SharedMemoryKind
from sifigan_triton.client.step_statistics import StepStatistics
from sifigan_triton.measure.bare_engine import BareEngine
from sifigan_triton.measure.case import IN_PROCESS, Case, Slice
from sifigan_triton.measure.load import Sample, closed_loop, open_loop, poisson_arrivals
from sifigan_triton.measure.perf_analyzer import Protocol, send
from sifigan_triton.measure.usage import ProcessGroup
from sifigan_triton.server.triton_server import TritonServer

MOST_CLIENTS = 64
"""Clients that stand by for arrivals; more requests than that wait at the client, which counts."""
ARRIVALS = 4
"""Factor on the requests of a case with Poisson arrivals: a queue needs time to build up."""
STATISTICS_S = 1.0
"""Longest wait for the server's statistics to count the last request."""
SHARED: dict[str, SharedMemoryKind] = {"grpc-shm": "system", "grpc-cuda": "cuda"}


@dataclass(frozen=True)
class Schedule:
    """How much of each case is measured."""

    rounds: int = 3
    requests: int = 6
    """Requests of a case in a round, at least; two for each client in any case."""
    seed: int = 0
    """Seed of the arrivals and of the order of mixed lengths."""


class Bench:
    """A running server and the bare engines beside it."""

    def __init__(self, server: TritonServer, engines: dict[str, BareEngine], schedule: Schedule) -> None:
        """Prepare.

        Args:
            server: a running server.
            engines: the bare engine for each engine's name; those without one are not run in-process.
            schedule: how much is measured.

        """
        if server.pid is None:
            raise ValueError("the server is not running: start it first")
        self._server, self._engines, self._schedule = server, engines, schedule
        self._group = ProcessGroup(server.pid)
        self._rates: dict[tuple[str, str], float] = {}
        self._idle: dict[tuple[str, str], list[SifiganClient]] = {}

    def close(self) -> None:
        """Close the connections that are kept from slice to slice."""
        for client in itertools.chain(*self._idle.values()):
            client.close()
        self._idle.clear()

    def measure(self, cases: Sequence[Case], progress: Callable[[str], None]) -> Iterator[tuple[int, Case, Slice]]:
        """Warm everything up, then measure round by round; gives the round's number, the case and what it saw.

        Args:
            cases: what to measure.
            progress: called with what comes next.

        """
        for case in cases:
            progress(f"warm-up: {case.name}")
            self._warm_up(case)
        for number in range(self._schedule.rounds):
            for case in cases:
                progress(f"round {number + 1} of {self._schedule.rounds}: {case.name}")
                yield number, case, self._slice(case, number)

    def _warm_up(self, case: Case) -> None:
        """Answer each request of a case once, alone, noting the rate of one client; let clients share their memory."""
        requests = case.workload.requests
        if case.protocol == IN_PROCESS:
            self._engines[case.kind.name].run(requests, len(requests))
            return
        key = case.kind.name, case.workload.name
        count = len(requests) * (1 if key in self._rates or case.utilization is None else 3)
        samples = closed_loop(lambda: self._connect(case), requests, 1, count)
        if key not in self._rates and case.utilization is not None:
            last = samples[-2 * len(requests) :]  # the first of each are slow
            self._rates[key] = 1.0 / statistics.fmean(sample.latency_s for sample in last)
        if case.protocol in SHARED and case.clients > 1:
            closed_loop(lambda: self._connect(case), requests, case.clients, 2 * case.clients)

    def _slice(self, case: Case, number: int) -> Slice:
        """Measure a case once."""
        count = max(self._schedule.requests, 2 * case.clients)
        if case.protocol == IN_PROCESS:
            return Slice(tuple(self._engines[case.kind.name].run(case.workload.requests, count)), {}, 0.0, 0)
        with SifiganClient(self._server.http_url) as observer:
            before, cpu_s = observer.steps(), self._group.cpu_s()
            samples = self._load(case, count, self._schedule.seed + number)
            cpu_s = self._group.cpu_s() - cpu_s
            steps = self._steps(observer, before, case.kind.ensemble, len(samples))
        return Slice(tuple(samples), steps, cpu_s, self._group.memory_bytes())

    @staticmethod
    def _steps(
        observer: SifiganClient, before: Mapping[str, StepStatistics], ensemble: str, requests: int
    ) -> dict[str, StepStatistics]:
        """Return what the ensemble's models have done; the server counts a request a little after its answer."""
        give_up = time.monotonic() + STATISTICS_S
        while True:
            done = {name: step - before[name] for name, step in observer.steps().items()}
            if done[ensemble].requests >= requests or time.monotonic() > give_up:
                return {name: step for name, step in done.items() if step.requests and name != ensemble}
            time.sleep(0.02)

    def _load(self, case: Case, count: int, seed: int) -> list[Sample]:
        """Put a case's load on the server: perf_analyzer where it can make it, this project's client where it cannot.

        perf_analyzer refuses shared memory for models with optional inputs, and keeps no latency for each length.
        """
        requests = case.workload.requests
        if case.utilization is not None:
            rate = case.utilization * self._rates[case.kind.name, case.workload.name]
            arrivals = poisson_arrivals(rate, ARRIVALS * count, seed)
            clients = min(len(arrivals), MOST_CLIENTS)
            return open_loop(lambda: self._connect(case), requests, arrivals, clients, seed)
        if case.protocol in SHARED or len(requests) > 1:
            return closed_loop(lambda: self._connect(case), requests, case.clients, count)
        url = self._server.http_url if case.protocol == "http" else self._server.grpc_url
        with tempfile.TemporaryDirectory(prefix="sifigan-triton-benchmark-") as folder:
            path = Path(folder, "request.json")
            case.workload.write(path)
            protocol: Protocol = "http" if case.protocol == "http" else "grpc"
            times = send(case.kind.ensemble, url, protocol, path, case.clients, count)
        return [Sample(sent, answered, requests[0].f0.size) for sent, answered in times]

    @contextmanager
    def _connect(self, case: Case) -> Iterator[SifiganClient]:
        """Give a client; one with shared memory stays, with its regions, for later slices."""
        idle = self._idle.setdefault((case.kind.name, case.protocol), [])
        url = self._server.http_url if case.protocol == "http" else f"grpc://{self._server.grpc_url}"
        try:
            client = idle.pop()
        except IndexError:
            client = SifiganClient(url, case.kind.ensemble, shared_memory=SHARED.get(case.protocol))
        try:
            yield client
        finally:
            if case.protocol in SHARED:
                idle.append(client)
            else:
                client.close()

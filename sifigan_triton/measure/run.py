"""One run: all cases in turn, round after round, so that what else happens on the machine meets all of them."""

from __future__ import annotations

import itertools
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from tqdm import tqdm

from sifigan_triton.client import SifiganClient
from sifigan_triton.client.shared_memory import SharedMemoryKind
from sifigan_triton.client.step_statistics import StepStatistics
from sifigan_triton.measure.bare_engine import BareEngine, read_settings
from sifigan_triton.measure.load import Sample, closed_loop, open_loop, poisson_arrivals
from sifigan_triton.measure.machine import ProcessGroup
from sifigan_triton.measure.perf_analyzer import Protocol, send
from sifigan_triton.measure.plan import BenchmarkOptions, Schedule, plan_cases
from sifigan_triton.measure.row import IN_PROCESS, Case, Row, Slice
from sifigan_triton.measure.workload import Workload
from sifigan_triton.server.triton_server import TritonServer

logger = logging.getLogger(__name__)

MOST_CLIENTS = 64
"""Clients that stand by for arrivals; more requests than that wait at the client, which counts."""
ARRIVALS = 4
"""Factor on the requests of a case with Poisson arrivals: a queue needs time to build up."""
STATISTICS_S, SETTLED_S = 5.0, 0.05
"""Longest wait for the server's statistics to count the last request; how long they stay the same when they have."""
SHARED: dict[str, SharedMemoryKind] = {"grpc-shm": "system", "grpc-cuda": "cuda"}


class Bench:
    """A running server and the bare engines beside it."""

    def __init__(self, server: TritonServer, engines: dict[str, BareEngine], schedule: Schedule) -> None:
        """Prepare.

        Args:
            server: a running server.
            engines: the bare engine of each ensemble that has cases in-process, by the ensemble's name.
            schedule: how much is measured.

        """
        if server.pid is None:
            raise ValueError("the server is not running: start it first")
        self._server, self._engines, self._schedule = server, engines, schedule
        self._group = ProcessGroup(server.pid)
        self._rates: dict[tuple[str, Workload], float] = {}
        self._idle: dict[tuple[str, str], list[SifiganClient]] = {}

    def close(self) -> None:
        """Close the connections that are kept from slice to slice."""
        for client in itertools.chain(*self._idle.values()):
            client.close()
        self._idle.clear()

    def measure(self, cases: Sequence[Case]) -> dict[Case, list[Slice]]:
        """Warm everything up, then measure round by round; return what each round saw of each case."""
        seen: dict[Case, list[Slice]] = {case: [] for case in cases}
        rounds = self._schedule.rounds
        logger.info("%d cases, %d rounds", len(cases), rounds)
        with tqdm(total=len(cases) * (rounds + 1), unit="slice", dynamic_ncols=True) as bar:
            for case in cases:
                bar.set_description(f"warm-up: {case.name}")
                self._warm_up(case)
                bar.update()
            for number in range(rounds):
                for case in cases:
                    bar.set_description(f"round {number + 1} of {rounds}: {case.name}")
                    seen[case].append(self._slice(case, number))
                    bar.update()
        return seen

    def _warm_up(self, case: Case) -> None:
        """Answer each request of a case once, alone, noting the rate of one client; let clients share their memory."""
        workload, key = case.workload, (case.model, case.workload)
        count = len(workload.frames)
        if case.protocol == IN_PROCESS:
            self._engines[case.model].run(workload.requests, count)
        elif case.utilization is not None:
            if key not in self._rates:
                samples = closed_loop(lambda: self._connect(case), workload.requests, 1, 3 * count)
                last = samples[-2 * count :]  # the first of each are slow
                self._rates[key] = 1.0 / statistics.fmean(sample.latency_s for sample in last)
        elif case.protocol in SHARED:
            closed_loop(lambda: self._connect(case), workload.requests, 1, count)
            if case.clients > 1:
                closed_loop(lambda: self._connect(case), workload.requests, case.clients, 2 * case.clients)
        else:
            self._send(case, max(count, 2), 1)  # of a single one perf_analyzer may miss the server's count, and fails

    def _slice(self, case: Case, number: int) -> Slice:
        """Measure a case once."""
        count = max(self._schedule.requests, 2 * case.clients)
        if case.utilization is None:
            count = -(-count // len(case.workload.frames)) * len(case.workload.frames)  # each request as often
        if case.protocol == IN_PROCESS:
            return Slice(tuple(self._engines[case.model].run(case.workload.requests, count)), {}, 0.0, 0)
        with SifiganClient(self._server.http_url) as observer:
            before, cpu_s = observer.steps(self._server.metrics_url), self._group.cpu_s()
            samples = self._load(case, count, self._schedule.seed + number)
            cpu_s = self._group.cpu_s() - cpu_s
            steps = self._steps(observer, before, case.model, len(samples))
        return Slice(tuple(samples), steps, cpu_s, self._group.memory_bytes())

    def _steps(
        self, observer: SifiganClient, before: Mapping[str, StepStatistics], model: str, requests: int
    ) -> dict[str, StepStatistics]:
        """Return what the models of an ensemble have done.

        The server counts a request a little after its answer, and what models count themselves follows behind.
        """
        give_up, last = time.monotonic() + STATISTICS_S, dict[str, StepStatistics]()
        while True:
            steps = observer.steps(self._server.metrics_url)
            done = {name: step - before[name] for name, step in steps.items() if step != before[name]}
            complete = model in done and all(step.requests >= requests for step in done.values())
            if (complete and done == last) or time.monotonic() > give_up:
                return {name: step for name, step in done.items() if step.requests and name != model}
            last = done
            time.sleep(SETTLED_S)

    def _load(self, case: Case, count: int, seed: int) -> list[Sample]:
        """Put a case's load on the server: perf_analyzer where it can make it, this project's client where it cannot.

        perf_analyzer refuses shared memory for models with optional inputs, and keeps no latency for each length.
        """
        if case.utilization is not None:
            rate = case.utilization * self._rates[case.model, case.workload]
            arrivals = poisson_arrivals(rate, ARRIVALS * count, seed)
            clients = min(len(arrivals), MOST_CLIENTS)
            return open_loop(lambda: self._connect(case), case.workload.requests, arrivals, clients, seed)
        if case.protocol in SHARED:
            return closed_loop(lambda: self._connect(case), case.workload.requests, case.clients, count)
        return self._send(case, count, case.clients)

    def _send(self, case: Case, count: int, clients: int) -> list[Sample]:
        protocol: Protocol = "http" if case.protocol == "http" else "grpc"
        url = self._server.http_url if protocol == "http" else self._server.grpc_url
        times = send(case.model, url, protocol, case.workload.path, clients, count)
        return [Sample(sent, answered, case.workload.mean_frames) for sent, answered in times]

    @contextmanager
    def _connect(self, case: Case) -> Iterator[SifiganClient]:
        """Give a client; one with shared memory stays, with its regions, for later slices."""
        idle = self._idle.setdefault((case.model, case.protocol), [])
        url = self._server.http_url if case.protocol == "http" else f"grpc://{self._server.grpc_url}"
        try:
            client = idle.pop()
        except IndexError:
            client = SifiganClient(url, case.model, shared_memory=SHARED.get(case.protocol))
        try:
            yield client
        finally:
            if case.protocol in SHARED:
                idle.append(client)
            else:
                client.close()


def run_benchmark(options: BenchmarkOptions, serve: Callable[[Sequence[str]], TritonServer]) -> list[Row]:
    """Serve, measure and summarise.

    Args:
        options: what is measured.
        serve: returns a server of the named models of `options.repository`, not yet started.

    Raises:
        ValueError: if there is nothing to measure, before anything is served.
        PerfError: if perf_analyzer fails, with what it says.

    """
    with tempfile.TemporaryDirectory(prefix="sifigan-triton-benchmark-") as folder:
        cases = plan_cases(options, Path(folder))
        settings = {model: read_settings(options.repository, model) for model in options.ensembles}
        engines = {kind.ensemble: BareEngine(options.repository, kind) for kind in options.engines}
        with (
            serve(list(options.ensembles)) as server,
            closing(Bench(server, engines, options.schedule)) as bench,
        ):
            seen = bench.measure(cases)
    bare = {(case.model, case.workload): slices for case, slices in seen.items() if case.protocol == IN_PROCESS}
    rows = []
    for case, slices in seen.items():
        its = settings[case.model]
        waits = case.protocol != IN_PROCESS and case.utilization is None
        comparison = bare.get((case.model, case.workload)) if waits else None
        rows.append(Row(case, slices, comparison, its.seconds(1), None if its.dynamic else its.window))
    return rows

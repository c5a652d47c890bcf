"""Tables: what the capacity planner predicts, beside what servers do; and what it costs to plan for many.

    python -m benchmarks.capacity [measured] [paper] [--repository model_repository] [--seconds 50] [--rounds 3]

measured: three real `serve` on one core, the callers on the others. In each round the times of a lone server are
measured (all that the prediction knows), then each load: calls at random moments (Poisson), sent to the server with
the fewest calls in flight of two that are drawn, as Envoy does. `predicted` is the simulation of the very calls that
were sent, `planned` that of 20,000 calls of the same kind: what `sifigan-triton plan` would say. Medians over the
rounds.
paper: fleets of 1 to 1,000 replicas, all of them simulated, beside the sample that the planner takes of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.served import Served, holdings
from benchmarks.turns import request_of
from sifigan_triton.capacity.probe import Probe
from sifigan_triton.capacity.service_times import ServiceTimes
from sifigan_triton.capacity.simulate import Fleet, Outcome, simulate
from sifigan_triton.capacity.sizing import CALLS, SAMPLE, run, work_s
from sifigan_triton.capacity.traffic import Lengths, Traffic, log_normal
from sifigan_triton.client import AsyncSifiganClient, ServerUnavailableError
from sifigan_triton.features.requests import Request

GRID = 20
"""Frames by which lengths are rounded: so many different requests are kept ready."""


@dataclass(frozen=True, eq=False)
class Load:
    """Calls that are sent."""

    name: str
    servers: int
    share: float
    """Of what the servers can do, by the prediction."""
    lengths: Lengths


def uniform(low_s: float, high_s: float) -> Lengths:
    """Return lengths from one to another."""
    return np.linspace(low_s, high_s, 200)


LOADS = (
    Load("sentences", 1, 0.5, np.minimum(log_normal(2.5, 7.0, 1), 15.0)),
    Load("phrases of 0.2 to 2 s", 2, 0.7, uniform(0.2, 2.0)),
    Load("0.2 to 12 s, log-uniform", 3, 0.6, np.geomspace(0.2, 12.0, 200)),
    Load("sentences, too many", 1, 1.5, np.minimum(log_normal(2.5, 7.0, 2), 15.0)),
)


@dataclass
class Seen:
    """What became of the calls of one load in one round."""

    latency_s: npt.NDArray[np.float64]
    seconds: float
    failed: list[str] = field(default_factory=list)

    def figures(self) -> npt.NDArray[np.float64]:
        """Return p50 and p99 in ms, answers a second, and the share that was refused."""
        return figures(Outcome(self.latency_s, 0.0, self.seconds))


def figures(outcome: Outcome) -> npt.NDArray[np.float64]:
    """Return p50 and p99 in ms, answers a second, and the share that was refused."""
    answered = np.isfinite(outcome.latency_s).sum()
    return np.array(
        [
            1e3 * outcome.percentile(50),
            1e3 * outcome.percentile(99),
            answered / outcome.seconds,
            outcome.refused,
        ]
    )


class Callers:
    """Who sends the calls."""

    def __init__(self, urls: Sequence[str]) -> None:
        """Remember the servers; make the requests."""
        self._urls = urls
        longest = int(max(load.lengths.max() for load in LOADS) / 0.005) + GRID
        whole = request_of(longest)
        self._requests: dict[int, Request] = {n: whole.first(n) for n in range(GRID, longest + 1, GRID)}

    def frames(self, traffic: Traffic) -> Traffic:
        """Return the calls with the lengths that are kept ready."""
        return Traffic(traffic.arrivals, np.maximum(np.rint(traffic.frames / GRID), 1).astype(np.int64) * GRID)

    def send(self, traffic: Traffic, servers: int) -> Seen:
        """Send calls to the first of the servers."""
        return asyncio.run(self._send(traffic, servers))

    async def _send(self, traffic: Traffic, servers: int) -> Seen:
        latency, failed = np.full(traffic.arrivals.size, np.nan), list[str]()
        drawn = np.random.default_rng(0).integers(servers, size=(traffic.arrivals.size, 2))
        in_flight = [0] * servers
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(AsyncSifiganClient(url, retries=0)) for url in self._urls[:servers]
            ]

            async def call(index: int, due: float) -> None:
                request = self._requests[int(traffic.frames[index])]
                which = min(drawn[index], key=lambda k: in_flight[k])
                in_flight[which] += 1
                try:
                    await clients[which].synthesize(request.f0, request.mcep, request.bap)
                    latency[index] = time.perf_counter() - due
                except ServerUnavailableError:
                    pass  # refused
                except Exception as error:  # noqa: BLE001 - counted
                    failed.append(repr(error))
                finally:
                    in_flight[which] -= 1

            began, tasks = time.perf_counter() + 0.1, []
            for index, arrival in enumerate(traffic.arrivals):
                due = began + float(arrival)
                await asyncio.sleep(max(due - time.perf_counter(), 0.0))
                tasks.append(asyncio.create_task(call(index, due)))
            await asyncio.gather(*tasks)
        return Seen(latency, time.perf_counter() - began - float(traffic.arrivals[0]), failed)


@contextmanager
def servers(repository: Path, number: int, cores: set[int]) -> Iterator[list[Served]]:
    """Run servers on some cores, this process on the others."""
    here = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as folder:
        running: list[Served] = []
        try:
            os.sched_setaffinity(0, cores)
            for k in range(number):
                (Path(folder) / str(k)).mkdir()
                running.append(Served(repository, Path(folder) / str(k)))
                running[-1].start()
            os.sched_setaffinity(0, here - cores or here)
            yield running
        finally:
            os.sched_setaffinity(0, here)
            for served in running:
                served.stop()


def measured(repository: Path, rounds: int, seconds: float, save: Path | None) -> None:
    """Print the table of predictions beside measurements."""
    first = min(os.sched_getaffinity(0))
    with servers(repository, max(load.servers for load in LOADS), {first}) as running:
        urls = [served.http_url for served in running]
        callers, probe = Callers(urls), Probe(urls[0], running[0].metrics_url, cores=1)
        for url in urls[1:]:
            Probe(url, running[0].metrics_url).warm()
        probe.round()
        guess = probe.times()
        sent = {
            load: [callers.frames(traffic_of(load, guess, seconds, number)) for number in range(rounds)]
            for load in LOADS
        }
        seen: dict[Load, list[Seen]] = {load: [] for load in LOADS}
        for number in range(rounds):
            probe.round()
            for load in LOADS:
                seen[load].append(callers.send(sent[load][number], load.servers))
        probe.round()
        memory = holdings(running[0].pid)
    times = probe.times()
    if save is not None:
        times.save(save)
    print(f"times: windows {({size: round(1e3 * s, 1) for size, s in times.window_s.items()})} ms, around them "
          f"{1e3 * times.around_s:.1f} ms and {1e6 * times.around_frame_s:.1f} us a frame; a server holds "
          f"{memory['PSS MB']:.0f} MB")  # fmt: skip
    print(HEAD)
    worst = 0.0
    for load in LOADS:
        line, error = row(load, times, sent[load], seen[load])
        print(line, flush=True)
        worst = max(worst, error)
    print(f"largest error of p99 and throughput, predicted against measured: {worst:.0%}")


HEAD = (
    "| load | servers | of their capacity | calls | p50 ms: predicted, measured | p99 ms: predicted, measured, error "
    "| planned p99 | answers/s: predicted, measured, error | refused: predicted, measured | failed |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def traffic_of(load: Load, times: ServiceTimes, seconds: float, number: int) -> Traffic:
    """Draw the calls of a round."""
    rate = load.share / work_s(times, load.lengths)
    count = int(2 * rate * seconds) + 50
    return Traffic.poisson(rate, load.lengths, times.frame_s, count, 100 * LOADS.index(load) + number).first(seconds)


def row(load: Load, times: ServiceTimes, sent: Sequence[Traffic], seen: Sequence[Seen]) -> tuple[str, float]:
    """Return a line of the table, and the larger error of p99 and throughput."""
    fleet = Fleet(load.servers, on_one_machine=True)
    predicted = np.median([figures(simulate(times, traffic, fleet)) for traffic in sent], axis=0)
    found = np.median([one.figures() for one in seen], axis=0)
    rate = np.mean([traffic.arrivals.size / traffic.arrivals[-1] for traffic in sent])
    long = Traffic.poisson(float(rate), load.lengths, times.frame_s, CALLS, 7)
    planned = figures(simulate(times, long, fleet))
    error = predicted / np.where(found > 0, found, 1.0) - 1.0
    share = rate * work_s(times, load.lengths)
    cells = [
        load.name,
        f"{load.servers}",
        f"{share:.0%}",
        f"{sum(traffic.arrivals.size for traffic in sent)}",
        f"{predicted[0]:.0f}, {found[0]:.0f}",
        f"{predicted[1]:.0f}, {found[1]:.0f}, {error[1]:+.0%}",
        f"{planned[1]:.0f}",
        f"{predicted[2]:.2f}, {found[2]:.2f}, {error[2]:+.0%}",
        f"{predicted[3]:.1%}, {found[3]:.1%}",
        f"{sum(len(one.failed) for one in seen)}",
    ]
    return f"| {' | '.join(cells)} |", float(max(abs(error[1]), abs(error[2])))


def paper(times: ServiceTimes) -> None:
    """Print the table of fleets on paper."""
    lengths = log_normal(2.5, 7.0, 0)
    print(f"\n70 % of the capacity; the sample is of {SAMPLE} replicas at most and {CALLS:,} calls\n")
    print("| replicas | calls | all: p99 ms | refused | simulated in, s | sample: p99 ms | error | in, s |")
    print(f"| ---: {'| ---: ' * 7}|", flush=True)
    for replicas in (1, 10, 100, 1000):
        rate = 0.7 * replicas / work_s(times, lengths)
        count = max(CALLS, 200 * replicas)
        began = time.perf_counter()
        whole = simulate(times, Traffic.poisson(rate, lengths, times.frame_s, count, 11), Fleet(replicas))
        took, began = time.perf_counter() - began, time.perf_counter()
        sample = run(times, lengths, rate, Fleet(replicas))
        p99, other = whole.percentile(99), sample.percentile(99)
        cells = [f"{replicas:,}", f"{count:,}", f"{1e3 * p99:.0f}", f"{whole.refused:.2%}", f"{took:.1f}"]
        cells += [f"{1e3 * other:.0f}", f"{other / p99 - 1.0:+.1%}", f"{time.perf_counter() - began:.1f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["measured", "paper", []], default=[])
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=50.0, help="of a load in a round")
    parser.add_argument("--save", type=Path, help="write the measured times, for `sifigan-triton plan --times`")
    parser.add_argument("--times", type=Path, help="of `paper`, instead of measured ones")
    args = parser.parse_args()
    parts = args.parts or ["measured", "paper"]
    with tempfile.TemporaryDirectory() as folder:
        save = args.save or Path(folder) / "times.json"
        if "measured" in parts:
            measured(args.repository, args.rounds, args.seconds, save)
        if "paper" in parts:
            paper(ServiceTimes.load(args.times or save))


if __name__ == "__main__":
    main()

"""What `serve` does when more is asked than it can do.

    python -m benchmarks.overload [--max-in-flight 8] [--clients 200] [--seconds 20]

All calls have 627 frames (3.1 s of audio) and go over HTTP without retries. Three loads, one behind the other, on one
server:

alone: one client, one call after the other.
crowd: `--clients` clients; one that is refused waits for the second of `Retry-After`, then asks again.
twice: calls at random moments (Poisson), twice as many a second as the server answers.

Each is followed by a look at how long the server still computes. Times of refusals are measured by the client, which
shares the machine with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.served import Served
from benchmarks.tracks import shipped
from sifigan_triton.client import AsyncSifiganClient, ServerUnavailableError

PAUSE_S = 1.0
"""What `Retry-After` says."""


@dataclass
class Trial:
    """The calls of one load."""

    name: str
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    drained: float = 0.0

    def row(self, alone: Trial) -> str:
        """Return its line of the table."""
        p50, p99 = np.percentile(self.answered, [50, 99]) * 1e3
        refused = np.percentile(self.refused, [50, 99, 100]) * 1e3 if self.refused else [np.nan] * 3
        cells = [
            self.name,
            f"{len(self.answered) / self.seconds:.1f}",
            f"{p50:.0f}",
            f"{p99:.0f}",
            f"{p99 / 1e3 / np.percentile(alone.answered, 99):.1f}",
            f"{len(self.refused) / (len(self.refused) + len(self.answered)):.0%}",
            *(f"{value:.0f}" for value in refused),
            f"{self.drained:.1f}",
            f"{len(self.failed)}",
        ]
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| load | answers a second | p50 ms | p99 ms | p99, times alone | refused | refused in, p50 ms | p99 | longest "
    "| drained s | failed |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


class Working(Protocol):
    """One server, or several behind one address."""

    def cpu_s(self) -> float:
        """Return the processor time of all its processes, in seconds."""


class Crowd:
    """Clients of one address."""

    def __init__(self, served: Working, http: str) -> None:
        """Remember the address, and what works behind it."""
        self._served, self._http = served, http
        self._request = shipped("frames-627")[0]

    async def call(self, client: AsyncSifiganClient, trial: Trial) -> bool:
        """Ask once; tell whether there was an answer."""
        began, request = time.monotonic(), self._request
        try:
            samples = await client.synthesize(request.f0, request.mcep, request.bap)
        except ServerUnavailableError:
            trial.refused.append(time.monotonic() - began)
            return False
        except Exception as error:  # noqa: BLE001 - counted
            trial.failed.append(repr(error))
            return False
        if samples.size != request.f0.size * 120:
            trial.failed.append(f"{samples.size} samples")
        trial.answered.append(time.monotonic() - began)
        return True

    async def trial(self, name: str, seconds: float, run: Callable[[Trial, float], Awaitable[None]]) -> Trial:
        """Run one load; its clients go away at its end, whatever they wait for."""
        trial, began = Trial(name), time.monotonic()
        try:
            await asyncio.wait_for(run(trial, began + seconds), seconds)
        except TimeoutError:
            pass
        trial.seconds = time.monotonic() - began
        began = time.monotonic()
        while self._busy():
            await asyncio.sleep(0.02)
        trial.drained = time.monotonic() - began
        await asyncio.sleep(1.0)
        return trial

    def _busy(self) -> bool:
        """Tell whether the service's processes have computed within the last tenth of a second."""
        before = self._served.cpu_s()
        time.sleep(0.1)
        return self._served.cpu_s() - before > 0.05

    async def alone(self, trial: Trial, until: float) -> None:
        """One client."""
        async with AsyncSifiganClient(self._http, retries=0) as client:
            while time.monotonic() < until:
                await self.call(client, trial)

    async def crowd(self, trial: Trial, until: float, clients: int) -> None:
        """Many clients that never rest, but when they are refused."""

        async def one(client: AsyncSifiganClient) -> None:
            while time.monotonic() < until:
                if not await self.call(client, trial):
                    await asyncio.sleep(PAUSE_S)

        async with AsyncSifiganClient(self._http, retries=0) as client:
            await asyncio.gather(*(one(client) for _ in range(clients)))

    async def at_rate(self, trial: Trial, until: float, rate: float) -> None:
        """Calls at random moments."""
        random, tasks = np.random.default_rng(0), set[asyncio.Task[bool]]()
        async with AsyncSifiganClient(self._http, retries=0) as client:
            while time.monotonic() < until:
                await asyncio.sleep(random.exponential(1.0 / rate))
                task = asyncio.create_task(self.call(client, trial))
                tasks.add(task)
                task.add_done_callback(tasks.discard)


async def measure(served: Working, http: str, args: argparse.Namespace) -> None:
    """Run the loads and print the table."""
    crowd = Crowd(served, http)
    await crowd.trial("warm", 3.0, crowd.alone)
    alone = await crowd.trial("alone", args.seconds, crowd.alone)
    print(HEAD)
    print(alone.row(alone), flush=True)

    async def many(trial: Trial, until: float) -> None:
        await crowd.crowd(trial, until, args.clients)

    busy = await crowd.trial(f"{args.clients} clients", args.seconds, many)
    print(busy.row(alone), flush=True)
    for share in args.share:
        rate = share * len(busy.answered) / busy.seconds

        async def often(trial: Trial, until: float, rate: float = rate) -> None:
            await crowd.at_rate(trial, until, rate)

        trial = await crowd.trial(f"{share:g} x capacity", args.seconds, often)
        print(trial.row(alone), flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-in-flight", type=int, nargs="+", default=[8])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--share", type=float, nargs="+", default=[2.0], help="of the capacity")
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    args = parser.parse_args()
    for count in args.max_in_flight:
        print(f"\n--max-in-flight {count}\n")
        with tempfile.TemporaryDirectory() as folder:
            served = Served(args.model_repository, Path(folder), f"--max-in-flight={count}")
            try:
                http, _ = served.start()
                asyncio.run(measure(served, http, args))
            finally:
                served.stop()


if __name__ == "__main__":
    main()

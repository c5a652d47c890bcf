"""An hour of mixed load on `serve`: does anything fail, grow, slow down, or sound different?

    python -m benchmarks.soak [--minutes 60] [--share 0.8] [--leak]

First the capacity is measured, with some clients that never rest; then requests come at random moments (Poisson), at a
share of that rate. They have 20 to 3,000 frames, a seed each, ask for `waveform` or `pcm16`, over HTTP and gRPC. One in
ten is always the same one: all its answers must have one hash. One in twenty is bad and must be refused; one in forty
has a deadline that it cannot meet. Every 15 s the memory (PSS), the files in /dev/shm, the descriptors and the threads
of the service and all its processes are read, and at the end the first and the last third (after a warm-up) are
compared. Exits with 1 if a good request failed, the hashes differ, or anything has grown by more than 5 %.

`--leak` is the negative control: a copy of the repository whose `preprocess` keeps 200 kB of every request.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.served import Served, holdings
from benchmarks.tracks import recordings
from sifigan_triton.client import AsyncSifiganClient, SynthesisError, SynthesisTimeoutError
from sifigan_triton.repository.servable import SUMS_FILE

ALLOWED = 0.05
SAMPLE_EVERY_S = 15.0
SAME_EVERY, BAD_EVERY, LATE_EVERY = 10, 20, 40
CLIENTS = 6
LEAK = """
_KEPT = []
_take = TritonPythonModel._take


def _leak(self, request):
    _KEPT.append(bytes(200_000))
    _take(self, request)


TritonPythonModel._take = _leak
"""


@dataclass
class Seen:
    """What came back."""

    latencies: list[tuple[float, int, float]] = field(default_factory=list)
    """When, frames, seconds; of good requests."""
    hashes: set[str] = field(default_factory=set)
    same: int = 0
    refused: int = 0
    late: int = 0
    failed: list[str] = field(default_factory=list)
    holdings: list[tuple[float, dict[str, float]]] = field(default_factory=list)


class Load:
    """Requests by number: what each of them is does not depend on the others."""

    def __init__(self, clients: list[AsyncSifiganClient]) -> None:
        """Remember where to send them."""
        self._clients, self._source, self.seen = clients, recordings(), Seen()

    async def send(self, number: int) -> None:
        """Send one request and look at what comes back."""
        random, source, seen = np.random.default_rng(number), self._source, self.seen
        same, bad, late = number % SAME_EVERY == 0, number % BAD_EVERY == 1, number % LATE_EVERY == 3
        frames = 200 if same else int(np.exp(random.uniform(np.log(20), np.log(2900))))
        if late:
            frames = 2900
        first = 0 if same else int(random.integers(0, source.f0.size - frames + 1))
        cut = slice(first, first + frames)
        f0 = np.full(frames, 20.0, np.float32) if bad else source.f0[cut]
        client = self._clients[number % 2]
        call = client.synthesize if same or number % 4 < 2 else client.synthesize_pcm16
        began = time.monotonic()
        try:
            samples = await call(
                f0, source.mcep[cut], source.bap[cut], seed=0 if same else number, timeout_s=0.02 if late else 120.0
            )
        except SynthesisTimeoutError as error:
            seen.late += late
            if not late:
                seen.failed.append(f"{number}: {error}")
            return
        except (SynthesisError, ConnectionError) as error:
            seen.refused += bad
            if not bad and not late:
                seen.failed.append(f"{number}: {error}")
            return
        if bad or samples.size != frames * 120 or (samples.dtype == np.float32 and not np.isfinite(samples).all()):
            seen.failed.append(f"{number}: {samples.size} samples for {frames} frames, f0 {f0[0]}")
        if same:
            seen.same += 1
            seen.hashes.add(hashlib.sha256(samples.tobytes()).hexdigest())
        seen.latencies.append((time.monotonic(), frames, time.monotonic() - began))


async def capacity(load: Load, seconds: float) -> float:
    """Return how many requests a second are answered when clients never rest."""
    until, numbers = time.monotonic() + seconds, iter(range(10**9))

    async def client() -> int:
        done = 0
        while time.monotonic() < until:
            await load.send(next(numbers))
            done += 1
        return done

    return sum(await asyncio.gather(*(client() for _ in range(CLIENTS)))) / seconds


async def soak(served: Served, http: str, grpc: str, minutes: float, share: float) -> Seen:
    """Send the load; return what was seen."""
    clients = [AsyncSifiganClient(http), AsyncSifiganClient(f"grpc://{grpc}")]
    load = Load(clients)
    rate = await capacity(load, min(60.0, minutes * 15.0)) * share
    print(f"capacity {rate / share:.1f} requests a second with {CLIENTS} clients; the load is {rate:.1f}", flush=True)
    if load.seen.failed:
        print(f"failed already: {load.seen.failed[:3]}")
    load.seen = Seen()
    random, began, sample_at = np.random.default_rng(1), time.monotonic(), 0.0
    at, number, tasks = began, 10**6, set[asyncio.Task[None]]()
    while (now := time.monotonic()) < began + minutes * 60.0:
        if now >= sample_at:
            sample_at = now + SAMPLE_EVERY_S
            load.seen.holdings.append((now - began, holdings(served.pid)))
        if at > now:
            await asyncio.sleep(min(at - now, 1.0))
            continue
        at += random.exponential(1.0 / rate)
        number += 1
        task = asyncio.create_task(load.send(number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    await asyncio.gather(*(client.close() for client in clients))
    load.seen.holdings.append((time.monotonic() - began, holdings(served.pid)))
    return load.seen


def judge(seen: Seen) -> list[str]:
    """Print what was seen; return what is wrong with it."""
    wrong = [f"{len(seen.failed)} good requests failed, such as {seen.failed[0]}"] if seen.failed else []
    if len(seen.hashes) > 1:
        wrong.append(f"the same request has {len(seen.hashes)} hashes")
    good = len(seen.latencies)
    print(f"good {good:,}, failed {len(seen.failed)}, refused as they should {seen.refused:,}, late {seen.late:,}; the "
          f"same request {seen.same:,} times: {len(seen.hashes)} hash")  # fmt: skip
    third = len(seen.latencies) // 3
    for name, low, high in (("short, to 200 frames", 0, 200), ("long, from 1,000", 1000, 10**9)):
        parts = []
        for part in (seen.latencies[:third], seen.latencies[-third:]):
            times = sorted(seconds for _, frames, seconds in part if low <= frames <= high)
            parts.append((statistics.median(times) * 1e3, times[int(len(times) * 0.99)] * 1e3))
        (p50, p99), (last50, last99) = parts
        print(f"{name}: p50 {p50:.0f} -> {last50:.0f} ms ({last50 / p50 - 1:+.0%}), "
              f"p99 {p99:.0f} -> {last99:.0f} ms ({last99 / p99 - 1:+.0%})")  # fmt: skip
    samples = seen.holdings[len(seen.holdings) // 6 :]  # the first ones warm up
    third = max(1, len(samples) // 3)
    for key in samples[0][1]:
        first, last = (statistics.median(each[key] for _, each in part) for part in (samples[:third], samples[-third:]))
        print(f"{key}: {first:.1f} -> {last:.1f} ({last / first - 1:+.1%})")
        if last / first - 1 > ALLOWED:
            wrong.append(f"{key} has grown by {last / first - 1:.1%}")
    return wrong


def leaking(repository: Path, folder: Path) -> Path:
    """Return a copy of a repository whose first step leaks."""
    copy = folder / "leaking"
    shutil.copytree(repository, copy)
    version = copy / "preprocess" / "1"
    code, sums = version / "model.py", version / SUMS_FILE
    before = hashlib.sha256(code.read_bytes()).hexdigest()
    code.write_text(code.read_text() + LEAK)
    sums.write_text(sums.read_text().replace(before, hashlib.sha256(code.read_bytes()).hexdigest()))
    return copy


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--share", type=float, default=0.8, help="of the capacity")
    parser.add_argument("--leak", action="store_true", help="the negative control")
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--output", type=Path, default=Path("build/soak.json"), help="all samples")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository = leaking(args.model_repository, folder) if args.leak else args.model_repository
        served = Served(repository, folder)
        try:
            http, grpc = served.start()
            seen = asyncio.run(soak(served, http, grpc, args.minutes, args.share))
            print(f"the service said: {served.said.partition('Ctrl-C stops')[2].strip() or 'nothing'}")
        finally:
            served.stop()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps({"holdings": seen.holdings, "latencies": seen.latencies}))
    if wrong := judge(seen):
        sys.exit("; ".join(wrong))


if __name__ == "__main__":
    main()

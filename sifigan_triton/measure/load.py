"""Load on a server: requests one after the other from several clients, or at arrival times that no answer delays."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sifigan_triton.features.requests import Request


class Synthesizer(Protocol):
    """What a client does for the benchmark."""

    def synthesize(
        self, f0: npt.NDArray[np.float32], mcep: npt.NDArray[np.float32], bap: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Synthesise one utterance."""


Connect = Callable[[], AbstractContextManager[Synthesizer]]


@dataclass(frozen=True)
class Sample:
    """One request, by one clock, in seconds."""

    scheduled_s: float
    """When it was due: for a client that waits for its last answer, when it was sent."""
    answered_s: float
    frames: float
    """Frames asked for; of a workload's requests on average where perf_analyzer sent them, which does not say which."""

    @property
    def latency_s(self) -> float:
        """Waiting for a free client included."""
        return self.answered_s - self.scheduled_s


def poisson_arrivals(rate: float, count: int, seed: int) -> npt.NDArray[np.float64]:
    """Draw arrival times of a Poisson process, in seconds from 0.

    Args:
        rate: arrivals a second, on average.
        count: number of arrivals.
        seed: seed of the draw.

    """
    return np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, count))


def closed_loop(connect: Connect, requests: Sequence[Request], clients: int, count: int) -> list[Sample]:
    """Keep `clients` requests in flight, `count` in all: each client sends its next one when it has its answer."""
    return _run(connect, clients, iter([(None, requests[number % len(requests)]) for number in range(count)]))


def open_loop(
    connect: Connect, requests: Sequence[Request], arrivals: npt.NDArray[np.float64], clients: int, seed: int
) -> list[Sample]:
    """Send requests, drawn at random, at the arrival times, whether or not earlier ones are answered.

    Latencies count from the arrival, also where all `clients` are busy then: a slow server cannot hide its queue by
    slowing down who asks.
    """
    chosen = np.random.default_rng(seed).integers(len(requests), size=len(arrivals))
    return _run(connect, clients, iter([(float(due), requests[k]) for due, k in zip(arrivals, chosen, strict=True)]))


def _run(connect: Connect, clients: int, jobs: Iterator[tuple[float | None, Request]]) -> list[Sample]:
    """Let clients take jobs in turn, each no earlier than it is due; return the samples by the time they were due."""
    lock, samples = threading.Lock(), list[Sample]()
    failures: queue.SimpleQueue[Exception] = queue.SimpleQueue()
    started = threading.Barrier(clients, timeout=60.0)
    origin: list[float] = []

    def work() -> None:
        try:
            with connect() as client:
                if started.wait() == 0:
                    origin.append(time.perf_counter())
                started.wait()
                while failures.empty():
                    with lock:
                        due, request = next(jobs, (None, None))
                    if request is None:
                        return
                    due = time.perf_counter() if due is None else origin[0] + due
                    time.sleep(max(due - time.perf_counter(), 0.0))
                    client.synthesize(request.f0, request.mcep, request.bap)
                    sample = Sample(due, time.perf_counter(), request.f0.size)
                    with lock:
                        samples.append(sample)
        except Exception as error:  # noqa: BLE001 - whatever ends a thread belongs to the caller
            failures.put(error)
            started.abort()  # nobody waits for this one

    threads = [threading.Thread(target=work, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not failures.empty():
        raise failures.get()
    return sorted(samples, key=lambda sample: sample.scheduled_s)

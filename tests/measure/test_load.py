"""The load of a benchmark: arrivals, what a latency is, and that no failure is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from sifigan_triton.features.requests import Request
from sifigan_triton.measure.load import closed_loop, open_loop, poisson_arrivals

LENGTHS = (3, 7)


def request(frames: int) -> Request:
    return Request(*(np.full(shape, 100.0, np.float32) for shape in ((frames,), (frames, 40), (frames, 3))))


REQUESTS = [request(frames) for frames in LENGTHS]


class Server:
    """Answers one request at a time, like an engine that uses the whole machine; notes how many ask at once."""

    def __init__(self, seconds: float, failing: bool = False) -> None:
        self.seconds, self.failing, self.asking, self.most, self.clients = seconds, failing, 0, 0, 0
        self.engine, self.count = threading.Lock(), threading.Lock()
        self.begun: list[float] = []

    @contextmanager
    def connect(self) -> Iterator[Any]:
        self.clients += 1
        yield self

    def synthesize(self, f0: Any, mcep: Any, bap: Any) -> Any:
        with self.count:
            self.begun.append(time.perf_counter())
            self.asking += 1
            self.most = max(self.most, self.asking)
        with self.engine:
            time.sleep(self.seconds)
        with self.count:
            self.asking -= 1
        if self.failing:
            raise RuntimeError("no audio")


def test_poisson_arrivals_have_their_rate_and_no_memory() -> None:
    arrivals = poisson_arrivals(20.0, 20_000, seed=1)
    gaps = np.diff(arrivals, prepend=0.0)
    assert gaps.min() >= 0.0
    assert gaps.mean() == pytest.approx(1 / 20.0, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 20.0, rel=0.05)  # an exponential distribution's deviation is its mean
    assert np.array_equal(arrivals, poisson_arrivals(20.0, 20_000, seed=1))


@pytest.mark.parametrize("clients", [4, 1])
def test_open_loop_shows_the_queue_whoever_has_to_wait(clients: int) -> None:
    server = Server(0.02)
    samples = open_loop(server.connect, REQUESTS, np.zeros(4), clients, seed=0)  # all are due at once
    assert server.clients == clients
    assert len({sample.scheduled_s for sample in samples}) == 1  # also with one client, which asks late
    latencies = sorted(sample.latency_s for sample in samples)
    assert all(latency >= 0.02 * place for place, latency in enumerate(latencies, start=1))


def test_open_loop_asks_when_requests_are_due() -> None:
    server, due = Server(0.0), np.array([0.0, 0.05, 0.1])
    samples = open_loop(server.connect, REQUESTS, due, 2, seed=0)
    scheduled = [sample.scheduled_s for sample in samples]
    assert np.subtract(scheduled, scheduled[0]) == pytest.approx(due)
    assert all(begun >= planned for begun, planned in zip(server.begun, scheduled, strict=True))


def test_open_loop_mixes_lengths() -> None:
    samples = open_loop(Server(0.0).connect, REQUESTS, np.zeros(50), 2, seed=0)
    assert {sample.frames for sample in samples} == set(LENGTHS)


def test_closed_loop_sends_each_request_in_turn() -> None:
    server = Server(0.01)
    samples = closed_loop(server.connect, REQUESTS, clients=3, count=9)
    assert (len(samples), server.clients) == (9, 3)
    assert server.most <= 3
    assert sum(sample.frames for sample in samples) == 5 * 3 + 4 * 7  # in turn


def test_failure_of_a_client_ends_the_run() -> None:
    server = Server(0.001, failing=True)
    with pytest.raises(RuntimeError, match="no audio"):
        closed_loop(server.connect, REQUESTS, clients=2, count=1000)


def test_client_that_cannot_connect_ends_the_run() -> None:
    server = Server(0.0)

    def connect() -> Any:
        if server.clients == 2:
            raise ConnectionError("no server")
        return server.connect()

    started = time.monotonic()
    with pytest.raises(ConnectionError, match="no server"):
        closed_loop(connect, REQUESTS, clients=3, count=9)
    assert time.monotonic() - started < 30.0  # the others do not wait for it in vain

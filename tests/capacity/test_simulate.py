"""The simulation against what is known: the engine's real loop, formulas of queues, and the front's limits."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from sifigan_triton.capacity import simulate as module
from sifigan_triton.capacity.service_times import ServiceTimes
from sifigan_triton.capacity.simulate import Fleet, simulate
from sifigan_triton.capacity.traffic import Traffic
from sifigan_triton.repository.adapters.loop import Batch, Job, Loop
from sifigan_triton.server.front import Limits
from tests.capacity.small import CPU

UNLIMITED = Limits(10_000)


def calls(*each: tuple[float, int]) -> Traffic:
    """Calls by when they come, in seconds, and how many frames they have."""
    return Traffic(np.array([due for due, _ in each]), np.array([frames for _, frames in each]))


def test_a_lone_call_takes_what_it_takes_alone() -> None:
    for frames in (1, 100, 627, 5000):
        outcome = simulate(CPU, calls((1.0, frames)), Fleet(1))
        assert outcome.latency_s == pytest.approx([CPU.alone(frames)])
        assert outcome.utilisation == pytest.approx(1.0)


def order_of_the_loop(times: ServiceTimes, lengths: list[int], batch: int) -> list[int]:
    """Return the calls in the order in which the engine's own loop answers them, all there before it begins.

    A window sleeps as long as it takes; those of two threads share the core as the simulation has it: by turns of a
    lock that is held for a moment.
    """
    answered: list[int] = []
    started, done = threading.Event(), threading.Event()

    def compute(tasks: Batch) -> None:
        started.wait()
        time.sleep(sum(times.window_s[size] for _, size in tasks))

    def answer(number: int) -> None:
        answered.append(number)
        if len(answered) == len(lengths):
            done.set()

    loop = Loop(compute, batch)
    for number, frames in enumerate(lengths):
        windows = times.windows(frames)
        costs = [times.cost(size) for size in windows]
        loop.submit(Job(number, windows, costs, lambda _, number=number: answer(number)))  # type: ignore[misc]
        if number == 0:
            time.sleep(0.05)  # the first one's first window is taken, as in the simulation
    started.set()
    assert done.wait(60.0)
    loop.close()
    return answered


@pytest.mark.parametrize("batch", [1, 4])
def test_calls_are_answered_in_the_order_of_the_real_loop(batch: int) -> None:
    """Long enough between two answers that the order does not hang on a moment."""
    lengths = [2048, 1024, 512 * 6, 512, 1024 + 256, 512 * 3]
    times = replace(CPU, window_s={512: 0.06, 256: 0.04, 128: 0.02, 64: 0.01}, around_s=1e-6, around_frame_s=0.0)
    times = replace(times, batch=batch, gpu=True)  # as sleeping threads do, two at a time keep their pace
    traffic = calls(*((1e-4 * number, frames) for number, frames in enumerate(lengths)))
    simulated = simulate(times, traffic, Fleet(1, UNLIMITED)).latency_s + traffic.arrivals
    answered = simulated[order_of_the_loop(times, lengths, batch)]
    assert (np.diff(answered) >= 0.0).all(), answered  # those of one batch end at one moment
    assert len(np.unique(answered)) > 3


def test_a_short_call_passes_a_long_one_and_runs_beside_it() -> None:
    outcome = simulate(CPU, calls((0.0, 5120), (0.25, 64)), Fleet(1))
    assert outcome.latency_s[1] == pytest.approx(CPU.around(64) * 2 + 0.020 * 2, rel=0.01)  # at half the pace
    assert outcome.latency_s[0] == pytest.approx(CPU.alone(5120) + CPU.alone(64), rel=0.001)


def test_work_is_neither_lost_nor_made() -> None:
    traffic = Traffic.poisson(5.0, np.geomspace(0.1, 12.0, 50), 0.005, 500, 3)
    outcome = simulate(CPU, traffic, Fleet(1, UNLIMITED))
    assert outcome.refused == 0.0
    work = sum(CPU.alone(int(frames)) for frames in traffic.frames)
    assert outcome.utilisation * outcome.seconds == pytest.approx(work)


def test_equal_calls_wait_as_the_formula_of_pollaczek_and_khinchine_says() -> None:
    """M/D/1: one size, one server, no thread beside: the mean time in the queue is rho/2(1-rho) of a service."""
    times = replace(CPU, window_s={512: 0.1}, around_s=0.0, around_frame_s=0.0, batch=1, turns=False)
    for rho in (0.5, 0.8):
        traffic = Traffic.poisson(rho / 0.1, np.array([2.56]), 0.005, 30_000, 1)
        outcome = simulate(times, traffic, Fleet(1, UNLIMITED))
        assert outcome.latency_s.mean() == pytest.approx(0.1 * (1.0 + rho / (2.0 * (1.0 - rho))), rel=0.05)
        assert outcome.utilisation == pytest.approx(rho, rel=0.02)


def test_a_full_house_refuses_as_erlang_says() -> None:
    """M/G/1/K: of equal servers' share, with processor sharing, the loss depends on rho and K alone."""
    times = replace(CPU, window_s={512: 1e-9}, around_s=0.1, around_frame_s=0.0)  # all work shares the core evenly
    rho, places = 0.9, 4
    traffic = Traffic.poisson(rho / 0.1, np.array([0.5]), 0.005, 30_000, 2)
    outcome = simulate(times, traffic, Fleet(1, Limits(places)))
    assert outcome.refused == pytest.approx((1 - rho) * rho**places / (1 - rho ** (places + 1)), rel=0.05)


def test_long_calls_have_places_of_their_own() -> None:
    long = module.LONG_BYTES // module.FRAME_BYTES + 1
    traffic = calls(*((1e-3 * k, long) for k in range(4)), *((0.1 + 1e-3 * k, 64) for k in range(10)))
    refused = np.isnan(simulate(CPU, traffic, Fleet(1, Limits(8))).latency_s)
    assert refused[:4].sum() == 2
    assert refused[4:].sum() == 2


def test_a_second_replica_is_asked_where_the_first_refuses() -> None:
    traffic = calls(*((1e-4 * k, 512) for k in range(16)))
    once = simulate(CPU, traffic, Fleet(2, Limits(8)), seed=1)
    more = simulate(CPU, traffic, Fleet(2, Limits(8), tries=20), seed=1)
    assert once.refused >= more.refused == 0.0


def test_replicas_share_the_calls() -> None:
    lengths = np.geomspace(0.2, 8.0, 100)
    rate = 0.7 / np.mean([CPU.alone(round(each / 0.005)) for each in lengths])
    one, ten = (simulate(CPU, Traffic.poisson(rate * n, lengths, 0.005, 8000, 4), Fleet(n, UNLIMITED)) for n in (1, 10))
    assert ten.utilisation == pytest.approx(0.7, rel=0.05)
    assert ten.percentile(99) < 0.8 * one.percentile(99)


def test_servers_on_one_machine_share_its_cores() -> None:
    alone, shared = (
        simulate(CPU, calls((0.0, 512), (0.0, 512)), Fleet(2, on_one_machine=shared), seed=3)
        for shared in (False, True)
    )
    assert alone.latency_s.max() == pytest.approx(CPU.alone(512))
    assert shared.latency_s == pytest.approx([2 * CPU.alone(512)] * 2)


def test_two_cores_do_what_needs_one_of_them_beside_another() -> None:
    times = replace(CPU, cores=2, around_s=0.1, around_frame_s=0.0, window_s={512: 1e-9})
    outcome = simulate(times, calls((0.0, 512), (0.0, 512), (0.0, 512)), Fleet(1))
    assert outcome.latency_s == pytest.approx([0.15] * 3)
    assert math.isclose(outcome.utilisation, 1.0)

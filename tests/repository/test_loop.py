"""The loop of a model: jobs take turns, each task is done once, and what is short does not wait for what is long."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, Queue
from typing import Any

import pytest

from sifigan_triton.repository.adapters.loop import Batch, Job, Loop
from tests.repository.loop_machine import PATIENCE, Machine


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine() as running:
        yield running


def test_a_short_job_is_served_next(machine: Machine) -> None:
    machine.submit("long", *[10.0] * 5)
    running = machine.begun()
    machine.submit("short", 6.0)
    running.ended.set()
    assert [machine.turn() for _ in range(5)] == ["short", *["long"] * 4]


def test_equal_jobs_come_one_behind_the_other(machine: Machine) -> None:
    machine.submit("a", *[10.0] * 6)
    running = machine.begun()
    machine.submit("b", *[10.0] * 6)
    running.ended.set()
    assert [machine.turn() for _ in range(11)] == [*["a"] * 5, *["b"] * 6]


@pytest.mark.parametrize("streams", [1, 3])
def test_an_endless_stream_of_short_jobs_starves_nobody(machine: Machine, streams: int) -> None:
    machine.submit("long", *[10.0] * 100)
    running, spent = machine.begun(), {"long": 10.0, "short": 0.0}
    for stream in range(streams):
        machine.submit(f"short {stream}", 6.0)
    for turn in range(60):
        running.ended.set()
        running = machine.begun()
        kind = running.names[0].split()[0]
        spent[kind] += {"long": 10.0, "short": 6.0}[kind]
        if kind == "short":
            machine.submit(f"short {streams + turn}", 6.0)  # as many wait as before
    running.ended.set()
    assert abs(spent["long"] - spent["short"]) <= 2 * 10.0  # half of the work is the oldest one's


def test_a_single_task_runs_beside_one_that_costs_twice_as_much(machine: Machine) -> None:
    machine.submit("long", 10.0, 10.0)
    running = machine.begun()
    machine.submit("short", 5.0)
    beside = machine.begun()
    assert beside.names == ["short"]
    beside.ended.set()
    assert machine.answer("short") is None
    assert not running.ended.is_set()
    running.ended.set()


@pytest.mark.parametrize("costs", [(5.5,), (2.0, 2.0)], ids=["almost-equal", "two-tasks"])
def test_nothing_else_runs_beside_another_task(machine: Machine, costs: tuple[float, ...]) -> None:
    machine.submit("long", 10.0)
    running = machine.begun()
    machine.submit("other", *costs)
    machine.submit("short", 5.0)
    beside = machine.begun()
    machine.submit("later", 5.0)  # its turn is after that of the other one
    beside.ended.set()
    then = machine.begun()
    assert [*beside.names, *then.names] == ["short", "later"]
    then.ended.set()
    running.ended.set()
    assert machine.turn() == "other"


def test_equal_tasks_of_several_jobs_go_together() -> None:
    with Machine(batch=4) as machine:
        machine.submit("first", 9.0)
        running = machine.begun()
        for name, count in (("a", 1), ("b", 1), ("c", 5)):
            machine.submit(name, *[5.0] * count)
        machine.submit("costly", 7.0)
        running.ended.set()
        calls = [machine.begun()]
        while sum(len(call.tasks) for call in calls) < 8:
            calls[-1].ended.set()
            calls.append(machine.begun())
        calls[-1].ended.set()
        assert len(calls[0].tasks) == 4
        assert set(calls[0].names) == {"a", "b", "c"}
        assert all(len(call.tasks) <= 4 and ("costly" not in call.names or len(call.tasks) == 1) for call in calls)
        done = sorted(task for call in calls for task in call.tasks)
        assert done == [("a", 0), ("b", 0), *(("c", i) for i in range(5)), ("costly", 0)]


def test_what_computes_batches_is_called_by_one_thread() -> None:
    with Machine(batch=2) as machine:
        machine.submit("long", 10.0)
        running = machine.begun()
        machine.submit("short", 1.0)
        with pytest.raises(Empty):
            machine.calls.get(timeout=0.2)
        running.ended.set()
        assert machine.turn() == "short"


def test_every_task_is_done_once_and_in_order() -> None:
    """Many jobs at a time, of all kinds: of one job never two tasks at a time, and one answer."""
    drawn, done, answers = random.Random(0), {name: [] for name in range(300)}, Queue[tuple[int, Any]]()
    busy = {name: threading.Lock() for name in done}

    def compute(batch: Batch) -> None:
        for job, task in batch:
            assert busy[job.work].acquire(blocking=False)
            done[job.work].append(task)
            time.sleep(1e-4)
            busy[job.work].release()

    costs = {name: [drawn.choice([1.0, 2.0, 4.0]) for _ in range(drawn.choice([1, 1, 2, 9]))] for name in done}
    loop = Loop(compute)
    with ThreadPoolExecutor(4) as pool:
        for name in done:
            answer = lambda error, name=name: answers.put((name, error))  # noqa: E731
            pool.submit(loop.submit, Job(name, range(len(costs[name])), costs[name], answer))
    got = [answers.get(timeout=PATIENCE) for _ in done]
    loop.close()
    assert answers.empty()
    assert sorted(got) == [(name, None) for name in done]
    assert done == {name: list(range(len(costs[name]))) for name in done}

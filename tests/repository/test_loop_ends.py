"""How jobs of the loop end: within their deadlines, when the server stops, and when something fails; each once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sifigan_triton.repository.adapters import deadline
from sifigan_triton.repository.adapters.deadline import DeadlineError
from sifigan_triton.repository.adapters.loop import StoppedError
from tests.repository.loop_machine import PATIENCE, Machine


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine() as running:
        yield running


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock that the test moves, in microseconds."""
    time = [1]
    monkeypatch.setattr(deadline, "now_us", lambda: time[0])
    return time


def test_what_fails_in_a_batch_fails_alone() -> None:
    with Machine(batch=4) as machine:
        machine.submit("first", 9.0)
        running = machine.begun()
        for name in ("a", "bad", "b"):
            machine.submit(name, 5.0)
        machine.free = True
        running.ended.set()
        assert set(machine.begun().names) == {"a", "bad", "b"}
        assert machine.answer("a") is machine.answer("b") is None
        assert str(machine.answer("bad")) == "no such sound"


def test_a_job_that_fails_ends_there(machine: Machine) -> None:
    machine.submit("bad", 5.0, 5.0)
    machine.submit("good", 5.0, 5.0)
    assert machine.turn() == "bad"
    assert str(machine.answer("bad")) == "no such sound"
    assert [machine.turn(), machine.turn()] == ["good", "good"]
    assert machine.answer("good") is None


def test_a_deadline_that_passes_before_the_turn(machine: Machine, now: list[int]) -> None:
    machine.submit("first", 10.0)
    running = machine.begun()
    machine.submit("late", 10.0, 10.0, timeout_us=100)
    machine.submit("patient", 10.0, timeout_us=1000)
    now[0] += 100
    running.ended.set()
    error = machine.answer("late")
    assert isinstance(error, DeadlineError)
    assert "passed, nothing was computed: allow it more time" in str(error)
    assert machine.turn() == "patient"
    assert machine.answer("patient") is None


def test_a_deadline_that_passes_between_two_tasks(machine: Machine, now: list[int]) -> None:
    machine.submit("late", *[10.0] * 3, timeout_us=100)
    running = machine.begun()
    now[0] += 100
    machine.submit("other", 10.0)  # while a task runs its job is not answered, whoever looks
    assert machine.answers["late"].empty()
    running.ended.set()
    assert "passed, 1 of 3 windows were computed: " in str(machine.answer("late"))
    assert machine.turn() == "other"


def test_work_that_is_done_is_answered_though_it_is_late(machine: Machine, now: list[int]) -> None:
    machine.submit("late", 10.0, timeout_us=100)
    running = machine.begun()
    now[0] += 100
    running.ended.set()
    assert machine.answer("late") is None


def test_close_ends_with_the_running_tasks(machine: Machine) -> None:
    machine.submit("unfinished", 10.0, 10.0)
    running = machine.begun()
    machine.submit("beside", 1.0)
    beside = machine.begun()
    machine.submit("waiting", 10.0, fails=True)
    machine.submit("waiting too", 10.0)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(machine.loop.close)
        assert isinstance(machine.answer("waiting"), StoppedError)
        assert isinstance(machine.answer("waiting too"), StoppedError)
        assert not closing.done()
        beside.ended.set()
        running.ended.set()
        closing.result(PATIENCE)
    assert machine.answer("beside") is None
    assert isinstance(machine.answer("unfinished"), StoppedError)
    machine.submit("after", 10.0, fails=True)
    assert isinstance(machine.answer("after"), StoppedError)


@pytest.mark.parametrize("name", ["good", "bad", "late"])
def test_an_answer_that_cannot_be_sent_stops_nobody(
    machine: Machine, now: list[int], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    machine.submit("first", 10.0)
    running = machine.begun()
    machine.submit(name, 10.0, timeout_us=100 * (name == "late"), fails=True)
    now[0] += 100
    machine.free = True
    running.ended.set()
    machine.answer(name)
    machine.submit("next", 10.0)
    assert machine.answer("next") is None
    machine.loop.close()  # either thread may have answered: its line is in the log when it has ended
    assert "the answer of a request could not be sent" in caplog.text
    assert "the client is gone" in caplog.text


def test_a_deadline_that_would_not_be_met(machine: Machine, now: list[int]) -> None:
    """What a job needs is learnt from the last tasks: one whose time does not suffice costs the others nothing."""
    machine.submit("first", 10.0)
    running = machine.begun()
    now[0] += 1000  # 100 microseconds for a cost of 1
    machine.submit("hopeless", 10.0, 10.0, timeout_us=2000)
    machine.submit("hopeful", 10.0, 10.0, timeout_us=6000)
    running.ended.set()
    assert machine.turn() == "hopeful"
    assert "would not be met, nothing was computed" in str(machine.answer("hopeless"))
    assert machine.turn() == "hopeful"
    assert machine.answer("hopeful") is None


def test_alone_it_may_try(machine: Machine, now: list[int]) -> None:
    machine.submit("first", 10.0)
    running = machine.begun()
    now[0] += 1000
    machine.submit("hasty", 10.0, 10.0, timeout_us=2000)
    running.ended.set()
    assert [machine.turn(), machine.turn()] == ["hasty", "hasty"]
    assert machine.answer("hasty") is None


def test_a_job_that_costs_nothing_stops_nobody(machine: Machine) -> None:
    machine.submit("nothing", 0.0)
    assert machine.turn() == "nothing"
    machine.submit("next", 5.0)
    assert machine.turn() == "next"
    assert machine.answer("next") is None

"""The deadline of a request: the same for every step and process of a machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sifigan_triton.repository.adapters import deadline
from sifigan_triton.repository.adapters.deadline import Deadline, DeadlineError


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock that the test moves, in microseconds."""
    time = [10**12]
    monkeypatch.setattr(deadline, "now_us", lambda: time[0])
    return time


@pytest.mark.parametrize("timeout_us", [1, 250_000, 2**62])
def test_it_passes_when_the_time_is_over(now: list[int], timeout_us: int) -> None:
    until = Deadline.after(timeout_us)
    for passed_us, expected in ((0, False), (timeout_us - 1, False), (timeout_us, True), (timeout_us + 1, True)):
        now[0] = 10**12 + passed_us
        assert until.has_passed == expected


@pytest.mark.parametrize("until", [Deadline(), Deadline(0), Deadline.after(0), Deadline.after(-5)])
def test_without_a_time_it_never_passes(now: list[int], until: Deadline) -> None:
    now[0] = 2**63
    assert not until.has_passed


def test_the_error_says_how_far_the_work_went_and_what_helps() -> None:
    error = Deadline(1).error("3 of 8 windows were computed")
    assert isinstance(error, DeadlineError)
    assert str(error) == (
        "the deadline of the request has passed, 3 of 8 windows were computed: allow it more time (its parameter "
        "timeout, in microseconds) or ask for less at once"
    )


def test_all_processes_of_a_machine_share_its_clock() -> None:
    code = "from sifigan_triton.repository.adapters.deadline import Deadline; print(Deadline.after(10**6).at_us)"
    before = Deadline.after(10**6).at_us
    other = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    assert before <= other <= Deadline.after(10**6).at_us

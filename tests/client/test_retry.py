"""Which attempts are made again, after which wait, and how many in all: with an own clock and own random numbers."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sifigan_triton.client import ServerUnavailableError
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.retry import CALLS_PER_RETRY, FIRST_S, LONGEST_S, RESERVE, Attempts, Retries, asked_s

LATE = 1e6


def longest(_: float, upper: float) -> float:
    return upper


def refusal(**hints: Any) -> ServerUnavailableError:
    return ServerUnavailableError("no room", **({"temporary": True} | hints))


def waits(attempts: Attempts, **hints: Any) -> list[float]:
    """Return all waits of a call that is refused for ever."""
    found = []
    while True:
        try:
            found.append(attempts.wait_s(refusal(**hints)))
        except ServerUnavailableError:
            return found


def test_waits_double_up_to_a_limit_and_end() -> None:
    assert waits(Retries(8, longest).begin(Deadline(LATE))) == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert (FIRST_S, LONGEST_S) == (0.2, 5.0)
    assert len(waits(Retries(3, longest).begin(Deadline(LATE)))) == 3


def test_wait_after_very_many_attempts_is_a_number() -> None:
    assert max(waits(Retries(2000, longest).begin(Deadline(LATE)), reached=False)) == LONGEST_S


def test_jitter_is_full_and_each_client_draws_its_own() -> None:
    drawn = [Retries(1).begin(Deadline(LATE)).wait_s(refusal()) for _ in range(400)]
    assert 0.0 <= min(drawn) < 0.02
    assert 0.18 < max(drawn) <= FIRST_S
    assert len(set(drawn)) > 390


def test_server_that_asks_for_time_gets_it_and_a_jitter() -> None:
    retries = Retries(2, lambda lower, upper: (lower + upper) / 2)
    assert waits(retries.begin(Deadline(LATE)), retry_after_s=7.0) == [7.1, 7.2]


def test_nothing_is_awaited_that_ends_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    retries = Retries(8, longest)
    attempts = retries.begin(Deadline(3.0))
    assert attempts.wait_s(refusal()) == 0.2
    now = 102.7
    with pytest.raises(ServerUnavailableError, match="no room") as gave_up:
        attempts.wait_s(refusal())
    assert gave_up.value.__notes__ == ["asked 2 times, and not again: 0.4 s were to be waited, 0.3 s are left"]
    with pytest.raises(ServerUnavailableError, match="no room"):
        retries.begin(Deadline(30.0)).wait_s(refusal(retry_after_s=30.0))
    assert retries.begin(Deadline(31.0)).wait_s(refusal(retry_after_s=30.0)) == 30.2


def test_what_does_not_pass_is_raised_as_it_is() -> None:
    retries = Retries(8, longest)
    failure = refusal(temporary=False)
    with pytest.raises(ServerUnavailableError) as raised:
        retries.begin(Deadline(LATE)).wait_s(failure)
    assert raised.value is failure
    assert not hasattr(failure, "__notes__")


def test_zero_retries_raise_the_first_failure() -> None:
    assert waits(Retries(0).begin(Deadline(LATE))) == []


@pytest.mark.parametrize("retries", [-1, 1.5, "3", None])
def test_retries_that_are_no_count_are_refused(retries: Any) -> None:
    with pytest.raises(ValueError, match=r"^retries is .*, expected a whole number from 0"):
        Retries(retries)


def test_budget_bounds_the_retries_of_all_calls_together() -> None:
    retries, calls = Retries(8, longest), 2003
    made = [len(waits(retries.begin(Deadline(LATE)))) for _ in range(calls)]
    assert made[0] == 8
    assert sum(made) == RESERVE + (calls - 1) // CALLS_PER_RETRY  # the first call found the reserve full
    attempts = retries.begin(Deadline(LATE))
    attempts.wait_s(refusal(reached=False))
    with pytest.raises(ServerUnavailableError) as gave_up:
        attempts.wait_s(refusal())
    assert "budget of retries is spent" in gave_up.value.__notes__[0]


def test_budget_comes_back_with_calls_and_never_exceeds_its_reserve() -> None:
    retries = Retries(10_000, longest)
    assert len(waits(retries.begin(Deadline(LATE)))) == RESERVE
    for _ in range(49):
        retries.begin(Deadline(LATE))
    assert len(waits(retries.begin(Deadline(LATE)))) == 50 // CALLS_PER_RETRY
    for _ in range(10_000):
        retries.begin(Deadline(LATE))
    assert len(waits(retries.begin(Deadline(LATE)))) == RESERVE


def test_attempts_that_reach_no_server_cost_none_of_the_budget() -> None:
    retries = Retries(500, longest)
    assert len(waits(retries.begin(Deadline(LATE)), reached=False)) == 500
    assert len(waits(retries.begin(Deadline(LATE)))) == RESERVE


HEADERS = {"3": 3.0, "0": 0.0, "-3": 0.0, "1.5": 0.0, "nan": 0.0, "²": 0.0, "": 0.0, "9" * 400: float("inf")}


@pytest.mark.parametrize(
    ("header", "expected"), [(None, 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), *HEADERS.items()]
)
def test_header_retry_after(header: str | None, expected: float) -> None:
    assert asked_s(header) == expected

"""Which failed attempts of a call are made again, when, and how many of them a client may make in all.

An attempt is made again only where the server was not there, or refused for now (`ServerUnavailableError.temporary`):
never for what the request itself is to blame for, never after its deadline, never on a closed client. The same request
gives the same audio, so asking twice does no harm. This is the only place that decides; the transports ask once.

Source of the waits: exponential back-off with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015); of the budget: gRPC's retry throttling (gRFC A6).
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.errors import ServerUnavailableError

RETRIES = 16
"""Attempts after the first: their waits, 30 s on average and rarely under 15, bridge a server that is started anew."""
FIRST_S = 0.2
LONGEST_S = 5.0
"""The first wait is at most `FIRST_S`, each later one at most twice the one before, none more than `LONGEST_S`."""
RESERVE = 100
CALLS_PER_RETRY = 5
"""A client's budget: `RESERVE` retries at once, and in the long run one for so many calls."""

logger = logging.getLogger(__name__)


class Budget:
    """How many retries a client may make: an overloaded server must not get a multiple of the calls."""

    def __init__(self) -> None:
        """Begin with a full reserve."""
        self._lock = threading.Lock()
        self._calls = RESERVE * CALLS_PER_RETRY  # whose retries have not been made

    def earn(self) -> None:
        """Count a call."""
        with self._lock:
            self._calls = min(RESERVE * CALLS_PER_RETRY, self._calls + 1)

    def take(self) -> bool:
        """Take one retry; return whether there was one."""
        with self._lock:
            if self._calls < CALLS_PER_RETRY:
                return False
            self._calls -= CALLS_PER_RETRY
            return True


class Retries:
    """What all calls of one client share; any number of threads may use it."""

    def __init__(self, retries: int, uniform: Callable[[float, float], float] = random.uniform) -> None:
        """Prepare.

        Args:
            retries: how often one call is made again at most.
            uniform: returns a random number between two.

        Raises:
            ValueError: if `retries` is no number from 0.

        """
        if not isinstance(retries, int) or retries < 0:
            raise ValueError(f"retries is {retries!r}, expected a whole number from 0, which never asks again")
        self.retries, self.uniform, self.budget = retries, uniform, Budget()

    def begin(self, deadline: Deadline) -> Attempts:
        """Begin a call."""
        self.budget.earn()
        return Attempts(self, deadline)


class Attempts:
    """The attempts of one call."""

    def __init__(self, shared: Retries, deadline: Deadline) -> None:
        """Begin with the first."""
        self._shared, self._deadline = shared, deadline
        self._failed = 0

    def wait_s(self, failure: ServerUnavailableError) -> float:
        """Return how long to wait before the next attempt, in seconds; what the server asks for comes on top.

        Raises:
            ServerUnavailableError: this failure, if there is to be no other attempt; a note says why.

        """
        if not failure.temporary:
            raise failure
        longest_s = min(LONGEST_S, FIRST_S * 2.0 ** min(self._failed, 10))
        wait_s = failure.retry_after_s + self._shared.uniform(0.0, longest_s)
        reason = self._reason_to_give_up(failure, wait_s)
        self._failed += 1
        if reason is not None:
            if self._failed > 1:
                failure.add_note(f"asked {self._failed} times, and not again: {reason}")
            raise failure
        logger.info("attempt %d of a call failed, the next one follows in %.2f s: %s", self._failed, wait_s, failure)
        return wait_s

    def _reason_to_give_up(self, failure: ServerUnavailableError, wait_s: float) -> str | None:
        """Return why there is no other attempt; None takes it from the budget."""
        if self._failed >= self._shared.retries:
            return f"retries is {self._shared.retries}"
        if wait_s >= self._deadline.left_s:
            return f"{wait_s:.1f} s were to be waited, {self._deadline.left_s:.1f} s are left"
        if failure.reached and not self._shared.budget.take():
            return "the client's budget of retries is spent, the server is overloaded"
        return None


def asked_s(retry_after: str | None) -> float:
    """Return the wait, in seconds, that a header `Retry-After` asks for; 0 for none, and for a date."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0

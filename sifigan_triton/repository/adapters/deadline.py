"""The deadline of a request: how every step of the ensemble knows that nobody waits for its answer any more.

Pure Python, without Triton: staged beside `model.py`.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PACES = 32
"""Pieces of work that a pace is learnt from; their median, so that one slow moment refuses nobody."""
LONGEST_US = 2**61
"""Longest time that a request may ask for, which is for ever: the deadline travels as INT64."""
CAUTION = 2.0
"""How much longer than its pace promises work that is yet to begin may take. Under more load than the machine bears,
the request whose turn it is has waited nearly all of its time: without this, its answer would be late again and again,
and the work lost."""


class DeadlineError(Exception):
    """The deadline of a request has passed before its work was done, or will have."""


@dataclass(frozen=True)
class Deadline:
    """When nobody waits for an answer any more, by the monotonic clock that all processes of a machine share."""

    at_us: int = 0
    """Microseconds; 0: never."""

    @classmethod
    def after(cls, timeout_us: int) -> Deadline:
        """Return the deadline of a request that arrives now and may take `timeout_us`; 0: as long as it likes."""
        return cls(now_us() + min(timeout_us, LONGEST_US) if timeout_us > 0 else 0)

    @property
    def left_us(self) -> float:
        """Microseconds that are left, at most 0 when it has passed."""
        return self.at_us - now_us() if self.at_us > 0 else math.inf

    @property
    def has_passed(self) -> bool:
        """Whether it is over."""
        return self.left_us <= 0

    def error(self, progress: str) -> DeadlineError:
        """Return the error for the client; `progress` says how far the work went."""
        return DeadlineError(
            f"the deadline of the request {'has passed' if self.has_passed else 'would not be met'}, {progress}: allow "
            "it more time (its parameter timeout, in microseconds) or ask for less at once"
        )


class Pace:
    """How long work takes here, learnt from what was done last."""

    def __init__(self) -> None:
        """Begin without knowing anything."""
        self._last: deque[float] = deque(maxlen=PACES)  # microseconds for a cost of 1

    @contextmanager
    def measuring(self, cost: float) -> Iterator[None]:
        """Learn from the work of a block."""
        began = now_us()
        yield
        if cost > 0.0:
            self._last.append((now_us() - began) / cost)

    def needs_us(self, cost: float) -> float:
        """Return how many microseconds work should need; 0 while nobody knows."""
        return statistics.median(self._last) * cost if self._last else 0.0


def now_us() -> int:
    """Return the time by that clock."""
    return time.monotonic_ns() // 1000

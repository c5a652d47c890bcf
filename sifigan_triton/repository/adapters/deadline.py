"""The deadline of a request: how every step of the ensemble knows that nobody waits for its answer any more.

Pure Python, without Triton: staged beside `model.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass


class DeadlineError(Exception):
    """The deadline of a request has passed before its work was done."""


@dataclass(frozen=True)
class Deadline:
    """When nobody waits for an answer any more, by the monotonic clock that all processes of a machine share."""

    at_us: int = 0
    """Microseconds; 0: never."""

    @classmethod
    def after(cls, timeout_us: int) -> Deadline:
        """Return the deadline of a request that arrives now and may take `timeout_us`; 0: as long as it likes."""
        return cls(_now_us() + timeout_us if timeout_us > 0 else 0)

    @property
    def has_passed(self) -> bool:
        """Whether it is over."""
        return 0 < self.at_us <= _now_us()

    def error(self, progress: str) -> DeadlineError:
        """Return the error for the client; `progress` says how far the work went."""
        return DeadlineError(
            f"the deadline of the request has passed, {progress}: allow it more time (its parameter timeout, in "
            "microseconds) or ask for less at once"
        )


def _now_us() -> int:
    return time.monotonic_ns() // 1000

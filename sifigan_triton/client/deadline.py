"""How long a caller waits for an answer, and when that time is over."""

from __future__ import annotations

import time

LONGEST_S = 2e6
"""Thirty years: what sockets, locks and Triton's count of microseconds can all hold."""


class Deadline:
    """The end of a time-out that begins now: one for all that a call asks of the server."""

    def __init__(self, timeout_s: float) -> None:
        """Begin to count.

        Raises:
            ValueError: if this is no time that can be waited.

        """
        self.timeout_s = check_timeout(timeout_s)
        self.at = time.monotonic() + timeout_s
        """A time of `time.monotonic`."""

    @property
    def left_s(self) -> float:
        """Seconds that are left, 0 once it has passed."""
        return max(0.0, self.at - time.monotonic())

    @property
    def left_us(self) -> int:
        """Whole microseconds that are left, as a request tells them to Triton; at least 1, for 0 would be no limit."""
        return max(1, int(self.left_s * 1e6))

    def at_most(self, timeout_s: float) -> Deadline:
        """Return this deadline, or one of `timeout_s` from now if that is earlier."""
        return self if self.left_s <= timeout_s else Deadline(timeout_s)


def check_timeout(timeout_s: float) -> float:
    """Return a time-out in seconds as it is.

    Raises:
        ValueError: if it is not above 0 and at most `LONGEST_S`.

    """
    if not 0.0 < timeout_s <= LONGEST_S:  # NaN is refused, too
        raise ValueError(f"timeout_s is {timeout_s:g}, expected seconds above 0 and at most {LONGEST_S:g}")
    return timeout_s

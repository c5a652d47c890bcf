"""A request while a model works on it: by which id its client and the log know it, and the time that it takes.

Pure Python, without Triton: staged beside `model.py`.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LONGEST_ID = 64
"""Characters of a client's id that are told and logged: it is a stranger's text."""
_UNREADABLE = re.compile(r"[^ -~]")


@dataclass(eq=False)
class Call:
    """A request, from its arrival on."""

    id: str
    began: float = field(default_factory=time.monotonic)
    compute_s: float = 0.0

    @classmethod
    def of(cls, request: Any) -> Call:
        """Return the call of a Triton request, under the id that its client chose or else one that is made here."""
        return cls(readable(request.request_id()) or secrets.token_hex(4))

    @property
    def seconds(self) -> float:
        """Seconds since the request came."""
        return time.monotonic() - self.began


def readable(text: str) -> str:
    """Return a client's id as messages and log lines show it: short, and of printable ASCII."""
    return _UNREADABLE.sub("?", text[:LONGEST_ID]).strip()


@contextmanager
def computing(calls: Sequence[Call]) -> Iterator[None]:
    """Count the time of a block as computing; requests that are computed together share it."""
    began = time.monotonic()
    try:
        yield
    finally:
        seconds = (time.monotonic() - began) / len(calls)
        for call in calls:
            call.compute_s += seconds

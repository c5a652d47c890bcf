"""Counters of a model on Triton's page of metrics; staged beside `model.py`."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import triton_python_backend_utils as pb_utils

from .deadline import DeadlineError

logger = logging.getLogger(__name__)

_ONE_AT_A_TIME = threading.Lock()
"""Triton's metrics are not safe for threads: two at once crash the server."""


@contextmanager
def _harmless() -> Iterator[None]:
    """Log what goes wrong with a metric, as with /dev/shm full: no answer may be lost for it."""
    try:
        yield
    except Exception:
        logger.exception("a metric could not be counted")


class Counter:
    """A family of counters, one for each set of labels."""

    def __init__(self, args: dict[str, str], name: str, description: str, *further: str) -> None:
        """Register the family.

        Args:
            args: those that Triton gives to `initialize`.
            name: name of the metric.
            description: what it counts.
            further: names of labels beside model and version; without any it stands on the page from the start, at 0.

        """
        self._labels = {"model": args["model_name"], "version": args["model_version"]}
        self._family = pb_utils.MetricFamily(name=name, description=description, kind=pb_utils.MetricFamily.COUNTER)
        self._further = further
        self._metrics: dict[tuple[str, ...], Any] = {}
        if not further:
            self.add(0)

    def add(self, value: float, *further: str) -> None:
        """Add to the counter with these values of the further labels."""
        with _ONE_AT_A_TIME, _harmless():
            if further not in self._metrics:
                labels = dict(zip(self._further, further, strict=True))
                self._metrics[further] = self._family.Metric(labels={**self._labels, **labels})
            self._metrics[further].increment(value)


def expired_counter(args: dict[str, str]) -> Counter:
    """Return the counter of requests that a step gave up for their deadline."""
    text = "Requests given up because their deadline had passed or would not have been met"
    return Counter(args, "sifigan_deadline_exceeded_total", text)


@dataclass(eq=False)
class Spent:
    """The time that a request takes, from its arrival on."""

    began: float = field(default_factory=time.monotonic)
    compute_s: float = 0.0


@contextmanager
def computing(requests: Sequence[Spent]) -> Iterator[None]:
    """Count the time of a block as computing; requests that are computed together share it."""
    began = time.monotonic()
    try:
        yield
    finally:
        seconds = (time.monotonic() - began) / len(requests)
        for spent in requests:
            spent.compute_s += seconds


class RequestMetrics:
    """What a model counts that answers later: Triton's own statistics see only how long it takes to accept."""

    def __init__(self, args: dict[str, str]) -> None:
        """Register the families."""
        self._requests = Counter(args, "sifigan_requests_total", "Requests that the model has answered")
        self._compute = Counter(args, "sifigan_compute_seconds_total", "Seconds in which requests were computed")
        self._wait = Counter(args, "sifigan_wait_seconds_total", "Seconds in which requests waited for their turns")
        self._expired = expired_counter(args)

    def count(self, spent: Spent, error: Exception | None) -> None:
        """Count a request whose answer is ready, or the error in its place."""
        self._requests.add(1)
        self._compute.add(spent.compute_s)
        self._wait.add(max(time.monotonic() - spent.began - spent.compute_s, 0.0))
        if isinstance(error, DeadlineError):
            self._expired.add(1)


class WindowMetrics:
    """What an engine counts besides."""

    def __init__(self, args: dict[str, str]) -> None:
        """Register the families."""
        self._windows = Counter(
            args, "sifigan_engine_windows_total", "Windows computed, by the frames that they yield", "frames"
        )
        self._late = Counter(
            args, "sifigan_engine_late_windows_total", "Windows that were done after the deadline of their request"
        )

    def count(self, frames: int, late: bool) -> None:
        """Count a window that has been computed."""
        self._windows.add(1, str(frames))
        if late:
            self._late.add(1)

"""Counters of a model on Triton's page of metrics; staged beside `model.py`."""

from typing import Any

import triton_python_backend_utils as pb_utils


class Counter:
    """A family of counters, one for each set of labels."""

    def __init__(self, args: dict[str, str], name: str, description: str, *labels: str) -> None:
        """Register the family.

        Args:
            args: those that Triton gives to `initialize`.
            name: of the family.
            description: of the family.
            labels: further labels, which `add` is given; a counter without any is on the page from the start.

        """
        self._labels = {"model": args["model_name"], "version": args["model_version"]}
        self._family = pb_utils.MetricFamily(name=name, description=description, kind=pb_utils.MetricFamily.COUNTER)
        self._metrics: dict[tuple[str, ...], Any] = {}
        if not labels:
            self.add(0.0)

    def add(self, value: float, **labels: object) -> None:
        """Add to the counter with further labels."""
        texts = {key: str(label) for key, label in labels.items()}
        key = tuple(texts.values())
        if key not in self._metrics:
            self._metrics[key] = self._family.Metric(labels={**self._labels, **texts})
        self._metrics[key].increment(value)


def expired_counter(args: dict[str, str]) -> Counter:
    """Return the counter of requests that a step gave up because their deadline had passed."""
    return Counter(args, "sifigan_deadline_exceeded_total", "Requests given up because their deadline had passed")


class EngineMetrics:
    """What an engine counts: Triton's own statistics see only how long it takes to accept a request."""

    def __init__(self, args: dict[str, str]) -> None:
        """Register the families."""
        self.requests = Counter(args, "sifigan_engine_requests_total", "Requests that the engine has answered")
        self.windows = Counter(
            args, "sifigan_engine_windows_total", "Windows computed, by the frames that they yield", "frames"
        )
        self.late = Counter(
            args, "sifigan_engine_late_windows_total", "Windows that were done after the deadline of their request"
        )
        self.compute = Counter(
            args,
            "sifigan_engine_compute_seconds_total",
            "Seconds in which windows of requests were computed",
        )
        self.wait = Counter(args, "sifigan_engine_wait_seconds_total", "Seconds that requests waited for their turns")
        self.expired = expired_counter(args)

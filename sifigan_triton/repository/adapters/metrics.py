"""What a model counts, on Triton's page of metrics; staged beside `model.py`.

A count costs a message to the server and back, some 40 us. So requests only note what has changed, and a thread takes
it to the page, at once but then no more for a while: what happens in the meantime goes together. No answer waits for a
count, none is lost, and many requests cost no more than a few.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from .call import Call

logger = logging.getLogger(__name__)

RESTARTS = "SIFIGAN_RESTARTS"
"""Variable in which whoever starts the server says how often it did before."""

Labels = tuple[str, ...]
"""Values of the labels that a metric has beside model and version."""
MEMORY = Path("/proc/self/smaps_rollup")
_MEMORY_EVERY_S = 10.0
_REST_S = 0.01
_CLOSE_TIMEOUT_S = 1.0


class Page:
    """The page, and the thread that writes on it. Two at once would crash the server: its metrics know no threads."""

    def __init__(self, args: dict[str, str]) -> None:
        """Start; `args`: those that Triton gives to `initialize`."""
        self.labels = {"model": args["model_name"], "version": args["model_version"]}
        self.writing = threading.Lock()
        self._changed = threading.Condition()
        self._values: dict[tuple[Metric, Labels], float] = {}
        self._due: set[tuple[Metric, Labels]] = set()
        self._closed = False
        self._look_at = 0.0
        self._memory = Metric(self, "sifigan_model_memory_bytes", "Memory of the model's process", gauge=True)
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def note(self, metric: Metric, labels: Labels, amount: float) -> None:
        """Add to a value; the page has it soon."""
        if amount == 0.0:
            return
        place = metric, labels
        with self._changed:
            self._values[place] = self._values.get(place, 0.0) + amount
            self._due.add(place)
            self._changed.notify()

    def close(self) -> None:
        """Write what is left."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        failed: set[tuple[Metric, Labels]] = set()
        while True:
            self._look()
            with self._changed:
                self._changed.wait_for(lambda: self._due or self._closed, _MEMORY_EVERY_S)
                values = {place: self._values[place] for place in self._due | failed}
                self._due.clear()
                closed = self._closed
            failed = self._write(values)
            if closed:
                return
            time.sleep(_REST_S)

    def _look(self) -> None:
        """Note what memory the process has, now and then."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _MEMORY_EVERY_S
        held, place = memory_bytes(), (self._memory, ())
        if held is not None:
            with self._changed:
                self._values[place] = float(held)
                self._due.add(place)

    def _write(self, values: dict[tuple[Metric, Labels], float]) -> set[tuple[Metric, Labels]]:
        """Write values; return where that failed, as it does with /dev/shm full: they go with the next ones."""
        failed = set()
        problem: Exception | None = None
        for (metric, labels), value in values.items():
            try:
                with self.writing:
                    metric.write(labels, value)
            except Exception as error:  # noqa: BLE001 - the other metrics, and the server, go on
                failed.add((metric, labels))
                problem = error
        if problem is not None:
            logger.warning("%d metrics could not be written, they go with the next ones: %s", len(failed), problem)
        return failed


def memory_bytes() -> int | None:
    """Return what this process takes of the machine's memory, with its share of what others have too (PSS, proc(5))."""
    try:
        found = re.search(r"^Pss:\s+(\d+) kB$", MEMORY.read_text("ascii"), re.MULTILINE)
    except OSError:  # a kernel before 4.14
        return None
    return None if found is None else 1024 * int(found[1])


class Metric:
    """A family of metrics of one name, one for each set of labels."""

    def __init__(
        self,
        page: Page,
        name: str,
        description: str,
        further: Labels = (),
        known: Iterable[Labels] = ((),),
        *,
        gauge: bool = False,
    ) -> None:
        """Register the family.

        Args:
            page: the page that it stands on.
            name: name of the metric.
            description: what it counts.
            further: names of labels beside model and version.
            known: their values that stand on the page from the start, at 0.
            gauge: whether it may fall, too.

        """
        self._page, self._further, self._gauge = page, further, gauge
        self._written: dict[Labels, float] = {}
        self._metrics: dict[Labels, Any] = {}
        kind = pb_utils.MetricFamily.GAUGE if gauge else pb_utils.MetricFamily.COUNTER
        with page.writing:
            self._family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
            for labels in known:
                self.write(labels, 0.0)

    def add(self, amount: float, *labels: str) -> None:
        """Add to the metric with these values of the further labels."""
        self._page.note(self, labels, amount)

    def write(self, labels: Labels, value: float) -> None:
        """Bring the metric with these values to a value; for the page, which lets one thread at a time do it."""
        if labels not in self._metrics:
            named = dict(zip(self._further, labels, strict=True))
            self._metrics[labels] = self._family.Metric(labels={**self._page.labels, **named})
        if self._gauge:
            self._metrics[labels].set(value)
        else:
            self._metrics[labels].increment(value - self._written.get(labels, 0.0))
        self._written[labels] = value


class RequestMetrics:
    """What a model counts that answers later: Triton's own statistics see only how long it takes to accept."""

    def __init__(self, page: Page) -> None:
        """Register the families."""
        self._requests = Metric(page, "sifigan_requests_total", "Requests that the model has answered")
        self._compute = Metric(page, "sifigan_compute_seconds_total", "Seconds in which requests were computed")
        self._wait = Metric(page, "sifigan_wait_seconds_total", "Seconds in which requests waited for their turns")
        self._in_flight = Metric(
            page, "sifigan_requests_in_flight", "Requests that wait in the model or are computed", gauge=True
        )

    def begin(self, request: Any) -> Call:
        """Count a request that has come."""
        self._in_flight.add(1)
        return Call.of(request)

    def end(self, call: Call) -> None:
        """Count a request whose answer is ready, or the error in its place."""
        self._requests.add(1)
        self._compute.add(call.compute_s)
        self._wait.add(max(call.seconds - call.compute_s, 0.0))
        self._in_flight.add(-1)


def padding_counter(page: Page) -> Metric:
    """Return the counter of frames that a model hands on, or computes, for nothing."""
    return Metric(page, "sifigan_padded_frames_total", "Frames of windows that lie beyond the utterance")


class UtteranceMetrics:
    """What `preprocess` counts besides."""

    def __init__(self, page: Page) -> None:
        """Register the families."""
        self._frames = Metric(page, "sifigan_frames_total", "Frames of the utterances that windows were made of")
        self._windows = Metric(page, "sifigan_windows_total", "Windows made for the engine")
        self._padded = padding_counter(page)
        self.repaired = Metric(
            page,
            "sifigan_repaired_frames_total",
            "Frames whose NaN or Inf were replaced because the request asked for it (input repair)",
        )
        self._restarts = Metric(
            page, "sifigan_restarts_total", "Times that the server has been started again since `serve`"
        )
        self._restarts.add(float(os.environ.get(RESTARTS, "0")))

    def count(self, frames: int, windows: int, padded: int) -> None:
        """Count an utterance of which windows were made."""
        self._frames.add(frames)
        self._windows.add(windows)
        self._padded.add(padded)


class WindowMetrics:
    """What an engine counts besides."""

    def __init__(self, page: Page, sizes: Iterable[int]) -> None:
        """Register the families; `sizes`: how many frames a window may yield."""
        text, known = "Windows computed, by the frames that they yield", [(str(size),) for size in sizes]
        self._windows = Metric(page, "sifigan_engine_windows_total", text, ("frames",), known)
        text = "Windows that were done after the deadline of their request"
        self._late = Metric(page, "sifigan_engine_late_windows_total", text)
        self.padded = padding_counter(page)

    def count(self, frames: int, late: bool) -> None:
        """Count a window that has been computed."""
        self._windows.add(1, str(frames))
        if late:
            self._late.add(1)

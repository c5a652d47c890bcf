"""Upper bounds of time for a machine that others use, too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

TICK_S = 0.01


class Stopwatch:
    """Counts ticks of a thread that sleeps: while the machine lets this process wait, it stands still as well."""

    def __init__(self) -> None:
        self.seconds, self._stopped = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def _tick(self) -> None:
        while not self._stopped.is_set():
            before = time.monotonic()
            time.sleep(TICK_S)
            self.seconds += min(time.monotonic() - before, 2 * TICK_S)


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Measure from here; `seconds` is for comparing with an upper bound, for it never runs fast."""
    watch = Stopwatch()
    watch._thread.start()
    try:
        yield watch
    finally:
        watch._stopped.set()
        watch._thread.join()

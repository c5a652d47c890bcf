"""What a TensorRT build says while it runs: its progress in the log, and its errors, kept for the exception."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

logger = logging.getLogger(__name__)

INTERVAL_S = 10.0
"""Least time between two lines of progress in seconds."""


class Progress:
    """The steps of a build as lines of the log; an exception meanwhile, such as Ctrl-C, cancels the build.

    TensorRT calls it from several threads, and through C++ that no exception may cross.
    """

    def __init__(self) -> None:
        """Start without any phase."""
        self.error: BaseException | None = None
        self._steps: dict[str, int] = {}
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def start(self, phase: str, steps: int) -> None:
        """Note that a phase of so many steps begins."""
        self._steps[phase] = steps

    def step(self, phase: str, step: int) -> bool:
        """Log a step if the last line is old enough; returns whether the build is to go on."""
        with self._lock:
            if self.error is not None:
                return False
            try:
                if time.monotonic() - self._last >= INTERVAL_S:
                    self._last = time.monotonic()
                    logger.info("  %s: step %d of %d", phase, step + 1, self._steps.get(phase, step + 1))
            except BaseException as error:  # noqa: BLE001 - handed on by `check`, behind the C++ code
                self.error = error
            return self.error is None

    def check(self) -> None:
        """Raise what cancelled the build, if anything did."""
        if self.error is not None:
            raise self.error


def progress_monitor(trt: Any, progress: Progress) -> Any | None:
    """Make TensorRT's monitor of a build; None before TensorRT 9, which has none."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            pass  # a phase may end early; the next one says what goes on

    return Monitor()


def message_log(trt: Any, errors: list[str]) -> Any:
    """Make TensorRT's logger: errors go into `errors`, they and the warnings to this module's logger."""
    levels = {"INTERNAL_ERROR": logging.ERROR, "ERROR": logging.ERROR, "WARNING": logging.DEBUG}

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity.name in ("INTERNAL_ERROR", "ERROR"):
                errors.append(msg)
            if severity.name in levels:
                logger.log(levels[severity.name], "TensorRT: %s", msg)

    return Log()

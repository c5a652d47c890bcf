"""What the package logs, as the command line shows it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def console(verbose: bool) -> Iterator[None]:
    """Show what the package logs: plain lines on stdout, warnings and worse on stderr with their level."""
    lines, warnings = _Lines(sys.stdout), logging.StreamHandler(sys.stderr)
    lines.addFilter(lambda record: record.levelno < logging.WARNING)
    warnings.setLevel(logging.WARNING)
    warnings.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    package = logging.getLogger("sifigan_triton")
    before = package.level
    package.setLevel(logging.DEBUG if verbose else logging.INFO)
    package.addHandler(lines)
    package.addHandler(warnings)
    try:
        yield
    finally:
        package.setLevel(before)
        package.removeHandler(lines)
        package.removeHandler(warnings)


class _Lines(logging.StreamHandler[TextIO]):
    """Lines whose failure, such as a closed pipe, ends the command as a `print` would."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        raise

"""Log lines of the models: one JSON object a line, on the standard error stream, which is the server's log.

Pure Python, without Triton: staged beside `model.py`.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Any

LONGEST_LINE = 4096
"""Bytes of a line, its end included: so many a pipe takes in one piece, and lines of several models do not mix."""
LONGEST_MESSAGE = 1000
FIELDS = ("request", "reason", "seconds")
"""What a line says of a request besides; a logger is given them as `extra`."""
_UNPRINTABLE = re.compile(r"[^\n -~]")


def configure(model: str) -> None:
    """Let all that this process logs, and Python's own warnings, go to the server's log as lines of this model."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(model))
    logging.basicConfig(handlers=[handler], force=True)
    logging.captureWarnings(True)


class JsonLines(logging.Formatter):
    """Makes a line of a record.

    Text is cut and reduced to printable ASCII, which JSON at most doubles, so that whatever is in a message or an
    exception, a line stays one line and has a limit.
    """

    def __init__(self, model: str) -> None:
        """Name the model that the lines are of."""
        super().__init__()
        self._model = model

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "model": self._model,
            **{name: getattr(record, name) for name in FIELDS if hasattr(record, name)},
            "message": _printable(record.getMessage())[:LONGEST_MESSAGE],
        }
        if record.exc_info:
            line["traceback"] = ""
            room = LONGEST_LINE - 1 - len(json.dumps(line))
            line["traceback"] = _printable(self.formatException(record.exc_info))[-(room // 2) :]  # its end says most
        return json.dumps(line)


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)

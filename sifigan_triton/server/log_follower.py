"""Log files, copied to a stream while they are written: a container's output is what its owner reads."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

_POLL_S = 0.1
_JOIN_S = 5.0
"""What the end waits for a stream that does not take more."""
_BLOCK = 2**16
_LONGEST_LINE = 2**20
"""A line that is longer is copied in parts."""


class LogFollower:
    """A context manager that copies what is written to some files, in whole lines, from a thread of its own.

    A file may appear later or be replaced; what stands in it before is not copied. Where it is shortened, what was
    written within the last 0.1 s may be lost. Where the stream does not take more, the copy waits, and nothing else.
    """

    def __init__(self, logs: Sequence[Path], stream: BinaryIO) -> None:
        """Describe what is copied, and where to."""
        self._tails = [_Tail(log) for log in logs]
        self._stream = stream
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="logs", daemon=True)

    def __enter__(self) -> LogFollower:
        """Start to copy."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Copy what is left."""
        self._closed.set()
        self._thread.join(_JOIN_S)

    def _follow(self) -> None:
        try:
            while not self._closed.wait(_POLL_S):
                self._copy()
            self._copy(last=True)
        except (OSError, ValueError):  # the reader is gone: the files are still there
            pass

    def _copy(self, last: bool = False) -> None:
        for tail in self._tails:
            tail.copy(self._stream, last)
        self._stream.flush()


class _Tail:
    """What has not been copied of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._line = b""
        if self._open() and self._file is not None:  # of an earlier start
            self._file.seek(0, os.SEEK_END)

    def copy(self, stream: BinaryIO, last: bool) -> None:
        """Copy the lines that are complete; the last time all."""
        while self._file is not None or self._open():
            assert self._file is not None
            if os.fstat(self._file.fileno()).st_size < self._file.tell():
                self._file.seek(0)
            while block := self._file.read(_BLOCK):
                self._write(stream, block)
            if not self._is_replaced():
                break
            self._file.close()
            self._file = None
        if last and self._line:
            self._write(stream, b"\n")

    def _open(self) -> bool:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            return False
        return True

    def _write(self, stream: BinaryIO, block: bytes) -> None:
        self._line += block
        end = len(self._line) if len(self._line) > _LONGEST_LINE else self._line.rfind(b"\n") + 1
        stream.write(self._line[:end])
        self._line = self._line[end:]

    def _is_replaced(self) -> bool:
        """Tell whether another file stands at the path."""
        assert self._file is not None
        try:
            return self._path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False

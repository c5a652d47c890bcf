"""Log files, copied to a stream while they are written."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

from sifigan_triton.server.log_follower import LogFollower


class Stream(io.BytesIO):
    """A stream that can be waited for."""

    def expect(self, text: str) -> None:
        """Wait until exactly this was written."""
        deadline = time.monotonic() + 10.0
        while self.getvalue() != text.encode():
            assert time.monotonic() < deadline, self.getvalue()
            time.sleep(0.01)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_follows_a_file_that_appears_grows_is_shortened_and_replaced(tmp_path: Path) -> None:
    log, stream = tmp_path / "log", Stream()
    with LogFollower([log], stream):
        append(log, "one\ntw")
        stream.expect("one\n")
        append(log, "o\n")
        stream.expect("one\ntwo\n")
        os.truncate(log, 0)
        append(log, "3\n")
        stream.expect("one\ntwo\n3\n")
        append(log, "last words\n")
        log.unlink()
        append(log, "the next\n")
        stream.expect("one\ntwo\n3\nlast words\nthe next\n")
        append(log, "no end")
    assert stream.getvalue().endswith(b"the next\nno end\n")


def test_leaves_out_what_an_earlier_start_wrote(tmp_path: Path) -> None:
    log, stream = tmp_path / "log", Stream()
    append(log, "earlier\n")
    with LogFollower([log, tmp_path / "never"], stream):
        append(log, "now\n")
        stream.expect("now\n")
        log.unlink()
        append(log, "then\n")
    assert stream.getvalue() == b"now\nthen\n"


def test_a_reader_who_is_gone_is_no_fault(tmp_path: Path) -> None:
    log, stream = tmp_path / "log", Stream()
    with LogFollower([log], stream):
        stream.close()
        append(log, "one\n")


def test_a_line_without_end_comes_in_parts(tmp_path: Path) -> None:
    log, stream = tmp_path / "log", Stream()
    with LogFollower([log], stream):
        append(log, "x" * (2**20 + 1))
        stream.expect("x" * (2**20 + 1))

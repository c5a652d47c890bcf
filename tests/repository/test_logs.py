"""A log line is one JSON object of bounded length, whatever is in it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from sifigan_triton.repository.adapters.call import LONGEST_ID, Call, readable
from sifigan_triton.repository.adapters.deadline import Deadline
from sifigan_triton.repository.adapters.logs import LONGEST_LINE, LONGEST_MESSAGE, JsonLines
from sifigan_triton.repository.adapters.refusals import KINDS, EngineError, TensorError, refuse

HOSTILE = ["a" * 10**5, "\n" * 10**4, '"' * 10**4, "\0" * 10**4, "é😀" * 10**4, "\x1b[2J\r\u2028{}\x7f" * 500]


def line(**fields: Any) -> str:
    record = logging.LogRecord("x", logging.WARNING, "", 0, fields.pop("message", ""), (), fields.pop("error", None))
    vars(record).update(fields)
    return JsonLines("preprocess").format(record)


def failure(text: str) -> Any:
    try:
        raise EngineError(text) from RuntimeError(text)
    except EngineError:
        return sys.exc_info()


def test_a_line_says_when_where_which_and_why() -> None:
    said = json.loads(line(message="f0 is -1 Hz", request="3f9a61c2", reason="value", seconds=0.002, created=1.5))
    assert list(said) == ["time", "level", "model", "request", "reason", "seconds", "message"]
    assert said["time"].startswith("1970-01-01T00:00:01.")
    assert said["time"].endswith("Z")
    assert said["message"] == "f0 is -1 Hz"


@pytest.mark.parametrize("text", HOSTILE, ids=[f"{text[:2]!r}" for text in HOSTILE])
def test_a_line_has_a_limit_and_stays_one_line(text: str) -> None:
    made = line(message=text, request=readable(text), error=failure(text))
    assert len(made) < LONGEST_LINE
    assert made.isascii()
    assert made.isprintable()
    said = json.loads(made)
    assert len(said["message"]) <= LONGEST_MESSAGE
    assert len(said["request"]) <= LONGEST_ID


def test_a_traceback_ends_with_what_went_wrong() -> None:
    assert json.loads(line(error=failure("no such sound")))["traceback"].endswith("EngineError: no such sound")


def test_everything_that_a_process_logs_has_that_form() -> None:
    code = (
        "import logging, warnings; from sifigan_triton.repository.adapters import logs; logs.configure('engine');"
        "logging.getLogger('a.b').warning('one'); warnings.warn('two'); logging.getLogger('c').info('unheard')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = [json.loads(text) for text in ran.stderr.splitlines()]
    assert [said["model"] for said in lines] == ["engine", "engine"]
    assert lines[0]["message"] == "one"
    assert "two" in lines[1]["message"]


@pytest.mark.parametrize(
    ("given", "known"),
    [("abc-1", "abc-1"), ("a\n{}", "a?{}"), ("é", "?"), ("x" * 100, "x" * LONGEST_ID)],
    ids=["plain", "line-break", "not-ascii", "long"],
)
def test_a_client_s_id_is_shown_short_and_readable(given: str, known: str) -> None:
    assert Call.of(type("Request", (), {"request_id": lambda self: given})()).id == known


def test_a_request_without_an_id_gets_one_of_its_own() -> None:
    ids = {Call.of(type("Request", (), {"request_id": lambda self: ""})()).id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(made) == 8 for made in ids)


def test_a_refusal_writes_one_line_with_the_id_that_the_client_is_told(caplog: pytest.LogCaptureFixture) -> None:
    for error, level in ((TensorError("samples is 0"), "WARNING"), (EngineError("/opt/x.so"), "ERROR")):
        caplog.clear()
        told = refuse(Call("abc"), error, KINDS)
        (record,) = caplog.records
        said = json.loads(JsonLines("engine").format(record))
        assert told.message.endswith(" (request abc)")
        assert (said["request"], said["reason"], said["level"]) == ("abc", told.reason, level)
        assert told.message.startswith(said["message"])
        assert "/opt" not in told.message


def test_the_client_still_knows_a_deadline(caplog: pytest.LogCaptureFixture) -> None:
    told = refuse(Call("abc"), Deadline(1).error("nothing was computed"), KINDS)
    assert told.message.startswith("the deadline of the request has passed, nothing was computed")
    assert (told.fault, told.reason) == ("load", "deadline")

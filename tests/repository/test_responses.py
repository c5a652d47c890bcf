"""Answers of the models: one is always sent, and what cannot be sent harms nobody else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sifigan_triton.repository.adapters.call import Call
from sifigan_triton.repository.adapters.refusals import Kind, TensorError
from tests.repository.triton_backend import ARGS, Family, adapter

CALL = Call("3f9a61c2")


@pytest.fixture
def responses() -> Iterator[ModuleType]:
    with adapter("responses") as module:
        yield module


@pytest.fixture
def made(responses: ModuleType) -> Iterator[Any]:
    """The answers of a model that foresees a `KeyError`."""
    page = responses.Page(ARGS)
    yield responses.Responses(page, {KeyError: Kind("INVALID_ARG", "client", ("value",))})
    page.close()


class Sender:
    def __init__(self, fails: bool = False) -> None:
        self.sent: list[Any] = []
        self.fails = fails

    def send(self, made: Any, flags: int) -> None:
        self.sent.append(made)
        if self.fails:
            raise RuntimeError("no room")


def test_tensors_are_sent_without_a_line(made: Any, caplog: pytest.LogCaptureFixture) -> None:
    sender, sound = Sender(), np.ones(3, np.float32)
    made.send(sender, CALL, {"waveform": sound})
    assert sender.sent == [{"waveform": sound}]
    assert not caplog.records


def test_an_answer_without_room_is_an_error(responses: ModuleType, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A send that finds no room cannot be repeated: the client would wait for ever."""
    monkeypatch.setattr(responses.shutil, "disk_usage", lambda path: SimpleNamespace(free=11))
    sender = Sender()
    made.send(sender, CALL, {"waveform": np.ones(3, np.float32)})
    ((message, code),) = sender.sent
    assert message.startswith("the answer needs 12 bytes of the server's shared memory, which has 11 left: ")
    assert message.endswith(" (request 3f9a61c2)")
    assert "/" not in message
    assert code == "UNAVAILABLE"


def test_errors_blame_the_client_only_where_it_is_its_fault(made: Any) -> None:
    for error, message, code in (
        (TensorError("samples is -5"), "samples is -5 (request 3f9a61c2)", "INVALID_ARG"),
        (KeyError("f0"), "'f0' (request 3f9a61c2)", "INVALID_ARG"),
    ):
        sender = Sender()
        made.send(sender, CALL, error)
        assert sender.sent == [(message, code)]


def test_what_nobody_foresaw_is_told_to_the_log_alone(made: Any, caplog: pytest.LogCaptureFixture) -> None:
    sender = Sender()
    made.send(sender, CALL, RuntimeError("no such sound in /opt/voice.onnx"))
    ((message, code),) = sender.sent
    assert message == ("the request failed in the server, whose log says why under the request's id (request 3f9a61c2)")
    assert code == "INTERNAL"
    (record,) = caplog.records
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "no such sound in /opt/voice.onnx"
    assert record.__dict__["request"] == "3f9a61c2"


def test_each_refusal_is_counted_by_fault_and_reason(responses: ModuleType) -> None:
    page = responses.Page(ARGS)
    made = responses.Responses(page, {})
    counts = [count for (name, *_), count in Family.values.items() if name.endswith("_total")]
    assert set(counts) == {0.0}  # all reasons stand there from the start
    names = set(Family.values)
    for error in (TensorError("a"), TensorError("b"), OSError("c")):
        made.send(Sender(), CALL, error)
    page.close()
    assert set(Family.values) == names
    assert {name[1:]: count for name, count in Family.values.items() if count and name[0].endswith("_total")} == {
        ("fault=client", "reason=shape"): 2,
        ("fault=server", "reason=internal"): 1,
    }


def test_what_cannot_be_sent_raises_nothing(made: Any, caplog: pytest.LogCaptureFixture) -> None:
    sender = Sender(fails=True)
    made.send(sender, CALL, {"waveform": np.ones(3, np.float32)})
    assert len(sender.sent) == 1
    assert "an answer could not be sent" in caplog.text


def test_what_the_backend_imports_with_the_first_answer_is_there_before() -> None:
    """Triton's process for a Python model looks at what `execute` returns with asyncio: 30 to 50 ms in each step."""
    code = (
        "import sys, types\n"
        "sys.modules['triton_python_backend_utils'] = types.ModuleType('')\n"
        "import sifigan_triton.repository.adapters.responses\n"
        "sys.exit('asyncio' not in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Answers of the models: one is always sent, and what cannot be sent harms nobody else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

NAME = "sifigan_triton.repository.adapters.responses"


@pytest.fixture
def responses(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, beside a stand-in for what only Triton's process has."""
    backend = SimpleNamespace(
        Tensor=lambda name, values: (name, values),
        TritonError=lambda message, code: (message, code),
        InferenceResponse=lambda tensors=None, error=None: error or dict(tensors),
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
    )
    for code in ("CANCELLED", "UNAVAILABLE", "INVALID_ARG", "INTERNAL"):
        setattr(backend.TritonError, code, code)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", backend)
    sys.modules.pop(NAME, None)
    yield import_module(NAME)
    sys.modules.pop(NAME, None)


class Sender:
    def __init__(self, fails: bool = False) -> None:
        self.sent: list[Any] = []
        self.fails = fails

    def send(self, made: Any, flags: int) -> None:
        self.sent.append(made)
        if self.fails:
            raise RuntimeError("no room")


def test_tensors_are_sent(responses: ModuleType) -> None:
    sender, sound = Sender(), np.ones(3, np.float32)
    responses.send(sender, {"waveform": sound})
    assert sender.sent == [{"waveform": sound}]


def test_an_answer_without_room_is_an_error(responses: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A send that finds no room cannot be repeated: the client would wait for ever."""
    monkeypatch.setattr(responses.shutil, "disk_usage", lambda path: SimpleNamespace(free=11))
    sender = Sender()
    responses.send(sender, {"waveform": np.ones(3, np.float32)})
    assert sender.sent == [("the answer needs 12 bytes in /dev/shm, which has 11 left", "UNAVAILABLE")]


def test_errors_blame_the_client_only_where_it_is_its_fault(responses: ModuleType) -> None:
    for error, code in (
        (responses.TensorError("samples is -5"), "INVALID_ARG"),
        (KeyError("f0"), "INVALID_ARG"),
        (RuntimeError("engine: no such sound"), "INTERNAL"),
    ):
        sender = Sender()
        responses.send(sender, error, KeyError)
        assert sender.sent == [(str(error), code)]


def test_what_cannot_be_sent_raises_nothing(responses: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    sender = Sender(fails=True)
    responses.send(sender, {"waveform": np.ones(3, np.float32)})
    assert len(sender.sent) == 1
    assert "an answer could not be sent" in caplog.text

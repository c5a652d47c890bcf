"""Reasons in the log of a server that did not start."""

from __future__ import annotations

import pytest

from sifigan_triton.server.log import explain


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        pytest.param("", "its log is empty", id="empty"),
        pytest.param("I1122 08:00:00.1 1 a.cc:1] hello", "it gave no reason; its last lines:\nI1122", id="no-reason"),
        pytest.param(
            "E1122 08:00:00.1 1 m.cc:1] \"Poll failed for model directory 'x': failed to read text proto\"\n"
            "error: creating server: Internal - failed to load all models",
            "Poll failed for model directory 'x': failed to read text proto",
            id="bad-config",
        ),
        pytest.param(
            "stub: error while loading shared libraries: libpython3.11.so.1.0: cannot open shared object file",
            "libpython3.11.so.1.0: cannot open shared object file\nfix: install Python's shared library",
            id="no-libpython",
        ),
    ],
)
def test_explain(log: str, expected: str) -> None:
    assert explain(log).startswith(expected)
    assert "failed to load all models" not in explain(log)

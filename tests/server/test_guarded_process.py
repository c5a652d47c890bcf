"""A process that never outlives its owner, also where its watchdog cannot be started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sifigan_triton.server.guarded_process import GuardedProcess


def test_nothing_unguarded_stays_when_the_watchdog_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def limited(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        if started:
            raise BlockingIOError("Resource temporarily unavailable")
        started.append(popen(*arguments, **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", limited)
    with pytest.raises(BlockingIOError):
        GuardedProcess(["sleep", "60"], dict(os.environ), tmp_path / "log", tmp_path, "sifigan_test_watchdog_")
    assert started[0].returncode is not None


def test_who_reads_the_last_log_finds_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for word in ("first", "second"):
        process = GuardedProcess(["echo", word], dict(os.environ), log, tmp_path, "sifigan_test_log_")
        while process.exit_status is None:
            pass
        process.stop(0.0)
        if word == "first":
            reader = log.open()
    with reader:
        assert reader.read() == "first\n"
    assert log.read_text() == "second\n"

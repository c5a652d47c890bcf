"""What `make` remembers of the last build, with a stand-in for the command that it runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.container_scripts import fake

RECORD = '[[ "$*" == *--broken* ]] && exit 1\nprintf "%s|" "$@"; echo\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that is set up, with two voices and a command that prints its arguments."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "requirements-nodeps.lock", "pyproject.toml", "setup.py"):
        (tmp_path / name).touch()
    for voice in ("demo", "mine"):
        (tmp_path / "voices" / voice).mkdir(parents=True)
        (tmp_path / "voices" / voice / "voice.json").touch()
    fake(tmp_path / ".venv" / "bin" / "sifigan-triton", RECORD)
    for name in (".packages", ".installed"):
        (tmp_path / ".venv" / name).touch()
    return tmp_path


def make(checkout: Path, *words: str, status: int = 0) -> list[str]:
    """Run make and return the lines that it prints."""
    done = subprocess.run(["make", *words], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout.splitlines()


def test_the_default_voice_is_built_without_a_word(checkout: Path) -> None:
    assert make(checkout, "build") == ["build|--voice|voices/demo|"]


def test_the_last_choice_is_remembered_and_said(checkout: Path) -> None:
    make(checkout, "build", "VOICE=voices/mine", "BUILD_ARGS=--output 'a b' --bound $$x#1")
    lines = make(checkout, "demo")
    assert lines[0].startswith("== voice voices/mine --output 'a b' --bound $x#1 (remembered; back with: make build")
    assert lines[1].startswith("build|--voice|voices/mine|--output|a b|--bound|")
    assert lines[2] == "demo|"
    make(checkout, "build", "VOICE=voices/demo", "BUILD_ARGS=")
    assert make(checkout, "build") == ["build|--voice|voices/demo|"]


def test_a_build_that_failed_is_not_remembered(checkout: Path) -> None:
    make(checkout, "build", "VOICE=voices/mine")
    make(checkout, "build", "BUILD_ARGS=--broken", status=2)
    assert make(checkout, "build")[1:] == ["build|--voice|voices/mine|"]


def test_a_voice_that_is_gone_is_named_with_the_way_back(checkout: Path) -> None:
    make(checkout, "build", "VOICE=voices/mine")
    shutil.rmtree(checkout / "voices" / "mine")
    done = subprocess.run(["make", "build"], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no voice in voices/mine" in done.stderr
    assert "make build VOICE=voices/demo" in done.stderr

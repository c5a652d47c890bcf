"""What `make` remembers of the last build, with a stand-in for the command that it runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
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
    done = run(checkout, *words)
    assert done.returncode == status, done.stderr
    return done.stdout.splitlines()


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a shell, also where make runs the tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *words], cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def test_the_markers_that_it_names_exist() -> None:
    """A marker that nobody knows would end a parallel run in words about workers."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    known = project["tool"]["pytest"]["ini_options"]["markers"]
    named = re.findall(r'-m "([a-z ]+)"', text)
    assert named
    words = {word for expression in named for word in expression.split()} - {"not", "and", "or"}
    assert words <= {marker.partition(":")[0] for marker in known}


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
    done = run(checkout, "build")
    assert done.returncode == 2
    assert "there is no voice in voices/mine" in done.stderr
    assert "make build VOICE=voices/demo" in done.stderr

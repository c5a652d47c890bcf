"""The code blocks of the README and of the page on clients run as they stand, against a real server."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tracks import shipped
from sifigan_triton.features.features import Features
from tests.conftest import ROOT, Deployment

README = (ROOT / "README.md").read_text(encoding="utf-8")
CLIENTS = (ROOT / "docs" / "howto" / "clients.md").read_text(encoding="utf-8")
PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README + CLIENTS, re.DOTALL)
BLOCKS = re.findall(r"```console\n(.*?)```", README.replace("\\\n", ""), re.DOTALL)
COMMANDS = [line[2:] for block in BLOCKS for line in block.splitlines()]


def with_ports(text: str, deployment: Deployment) -> str:
    """Return the text with the addresses of a running server in place of the default ones."""
    server = deployment.server
    return text.replace("localhost:8000", server.http_url).replace("localhost:8001", server.grpc_url)


def test_sound_comes_first() -> None:
    assert "make demo" in "\n".join(README.splitlines()[:40])
    assert "make test" in "\n".join(README.splitlines()[:40])


@pytest.mark.server
@pytest.mark.parametrize("number", range(len(PYTHON_BLOCKS)))
def test_python_block(small_deployment: Deployment, tmp_path: Path, number: int) -> None:
    request = shipped("short")[0].first(60)
    Features(request.f0, request.mcep, request.bap, 24000, 5.0).save(tmp_path / "features.npz")
    code = with_ports(PYTHON_BLOCKS[number], small_deployment)
    result = "waveform" if "waveform =" in code else "pcm16"
    code += f"\nnp = __import__('numpy')\nnp.save('result.npy', {result})\n"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "result.npy").shape == (60 * 120,)


@pytest.mark.server
def test_resynthesize_command(small_deployment: Deployment, tmp_path: Path) -> None:
    (command,) = [line for line in COMMANDS if "resynthesize" in line]
    arguments = shlex.split(command.replace("out/", f"{tmp_path}/"))[1:]
    arguments += ["--url", small_deployment.server.http_url]
    done = subprocess.run(
        [sys.executable, "-m", "sifigan_triton", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"mine.wav", "mine.png"}


def test_commands_parse() -> None:
    """Each sifigan-triton and build_engines.py command of the README has the options that it uses."""
    for line in COMMANDS:
        words = shlex.split(line.split("#")[0])
        if words[0] == "make":
            assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
            continue
        options = [word for word in words if word.startswith("--")]
        program = ["build_engines.py"] if "build_engines.py" in words else ["-m", "sifigan_triton", words[1]]
        shown = subprocess.run(
            [sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for option in options:
            assert option in shown, line

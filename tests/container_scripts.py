"""The container's files, and how the tests run its scripts outside a container."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from sifigan_triton.server.front.envoy import find_envoy

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
SCRIPTS = sorted(DOCKER.glob("*.sh"))
DEFAULTS = dict(
    line.split("=", 1)
    for line in (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
"""The variables of compose.yaml."""
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SERVE_STAGE = DOCKERFILE.split(" AS serve")[1]
CPU_DOCKERFILE = (DOCKER / "cpu.Dockerfile").read_text(encoding="utf-8")
DOCKERFILES = {"nvidia": DOCKERFILE, "cpu": CPU_DOCKERFILE}


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with some variables of the environment replaced."""
    return subprocess.run(
        [str(word) for word in command], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def fake(path: Path, text: str = 'printf "%s\\n" "$@"\n') -> Path:
    """Write a program that prints its arguments, or does what `text` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/bash\n" + text, encoding="utf-8")
    path.chmod(0o755)
    return path


def copies(dockerfile: str = DOCKERFILE) -> list[tuple[str, str]]:
    """Return what a Dockerfile copies from the build context, but for the whole of it, and where to."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", dockerfile.replace("\\\n", " "), re.MULTILINE)
    pairs = [(source, line.split()[-1]) for line in lines for source in line.split()[:-1]]
    return [(source, target) for source, target in pairs if source != "."]


class Image:
    """The serving image, laid out in a folder: what its Dockerfile copies, Envoy, and NVIDIA's folder of the server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for source, target in copies(SERVE_STAGE):
            if target.startswith("/opt/sifigan/"):
                self._copy(ROOT / source, folder / target.removeprefix("/opt/"), into=target.endswith("/"))
        self.triton = folder / "tritonserver"
        (self.triton / "bin").mkdir(parents=True)
        self.programs = folder / "programs"
        self.programs.mkdir()
        (self.programs / "envoy").symlink_to(find_envoy())

    @staticmethod
    def _copy(source: Path, target: Path, *, into: bool) -> None:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / source.name if into and target.mkdir(exist_ok=True) is None else target)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the image sets, with a PATH on which its programs stand first."""
        path = f"{self.triton / 'bin'}:{self.programs}:{os.environ['PATH']}"
        return {"PYTHONPATH": str(self.folder / "sifigan"), "PATH": path}

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """Return the entry point behind NVIDIA's, for a Python that has no packages at all."""
        return [sys.executable, "-S", "-m", "sifigan_triton.server", *arguments]

"""The Triton server of NVIDIA's image, where the wheel is not: its files are used as they lie there."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sifigan_triton.server.triton_wheel import ServerError, TritonWheel

ROOT = Path("/opt/tritonserver")
"""Where NVIDIA's image has it."""


class TritonFiles(Protocol):
    """Where a Triton server's files are, and how they are made to run: `TritonWheel` or `TritonImage`."""

    @property
    def binary(self) -> Path:
        """The server."""

    @property
    def caches(self) -> Path:
        """The folder of response caches, for `--cache-directory`."""

    def stage_backends(self, directory: Path) -> Path:
        """Return the folder of backends, which may be made in `directory`."""

    def environment(self, directory: Path) -> dict[str, str]:
        """Return the environment that the server runs in, which may need files in `directory`."""


@dataclass(frozen=True)
class TritonImage:
    """An installation of NVIDIA's: the programs, the backends with their own Python, the caches."""

    root: Path

    @classmethod
    def find(cls) -> TritonImage:
        """Find the installation around the `tritonserver` on the PATH, else where NVIDIA's image has it.

        Raises:
            ServerError: if there is none.

        """
        found = shutil.which("tritonserver")
        roots = [*([Path(found).parent.parent] if found else []), ROOT]
        for image in map(cls, roots):
            if image.binary.is_file() and image.stage_backends(image.root).is_dir():
                return image
        looked = " and ".join(str(root / "bin" / "tritonserver") for root in roots)
        raise ServerError(f"the Triton server is missing: looked for {looked}, with the folder backends beside bin")

    @property
    def binary(self) -> Path:
        """The server."""
        return self.root / "bin" / "tritonserver"

    @property
    def caches(self) -> Path:
        """The folder of response caches."""
        return self.root / "caches"

    def stage_backends(self, directory: Path) -> Path:
        """Return the folder of backends."""
        return self.root / "backends"

    def environment(self, directory: Path) -> dict[str, str]:
        """Return the environment of this program: the image's own fits."""
        return dict(os.environ)


def find_triton() -> TritonFiles:
    """Find the wheel's server among the packages of the running Python, else that of NVIDIA's image.

    Raises:
        ServerError: if there is neither.

    """
    if importlib.util.find_spec("pytriton") is None:
        try:
            return TritonImage.find()
        except ServerError:
            pass  # what the wheel says helps more
    return TritonWheel.find()

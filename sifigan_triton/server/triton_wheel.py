"""The Triton server inside the `nvidia-pytriton` wheel: where its files are, and how they are made to run.

The wheel holds a real `tritonserver` with the Python backend. Its Python package is never imported: only its files are
used. Nothing is written into the wheel's folders: a private directory of symbolic links brings together what the Python
backend needs beside it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

MIN_GLIBC = (2, 35)
"""Oldest C library that the wheel's server runs on (its tag is manylinux_2_35)."""


class ServerError(RuntimeError):
    """Triton could not be found, started or kept running.

    Attributes:
        models: those whose fault it is, where that is known.

    """

    def __init__(self, message: str, models: Collection[str] = ()) -> None:
        super().__init__(message)
        self.models = frozenset(models)


@dataclass(frozen=True)
class TritonWheel:
    """The folders of an installed `nvidia-pytriton` wheel."""

    root: Path
    """`pytriton/tritonserver`: binary, backends, caches, stubs."""
    libraries: Path
    """`nvidia_pytriton.libs`: the shared libraries that the wheel brings."""

    @classmethod
    def find(cls) -> TritonWheel:
        """Find the wheel among the packages of the running Python.

        Raises:
            ServerError: if it is not installed, holds no server, or the machine's C library is too old for it.

        """
        spec = importlib.util.find_spec("pytriton")
        if spec is None or not spec.submodule_search_locations:
            raise ServerError(
                f"the Triton server is missing: {sys.executable} has no package nvidia-pytriton; "
                "run `make` in the project's folder, or `pip install '.[serve]'` there"
            )
        package = Path(spec.submodule_search_locations[0])
        wheel = cls(root=package / "tritonserver", libraries=package.parent / "nvidia_pytriton.libs")
        for path in (wheel.binary, wheel.stub, wheel.libraries):
            if not path.exists():
                raise ServerError(
                    f"the Triton server is incomplete: {path} is missing; nvidia-pytriton 0.7.0 for Linux x86_64 has it"
                )
        check_glibc()
        return wheel

    @property
    def binary(self) -> Path:
        """The server."""
        return self.root / "bin" / "tritonserver"

    @property
    def caches(self) -> Path:
        """The folder of response caches, for `--cache-directory`."""
        return self.root / "caches"

    @property
    def stub(self) -> Path:
        """The process that runs a Python model, built for the running Python's version."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self.root / "python_backend_stubs" / version / "triton_python_backend_stub"

    def stage_backends(self, directory: Path) -> Path:
        """Link the Python backend and its stub into `directory`/backends and return that folder."""
        backends = directory / "backends"
        python = backends / "python"
        python.mkdir(parents=True)
        for source in (self.root / "backends" / "python").iterdir():
            if source.is_file():
                (python / source.name).symlink_to(source)
        (python / self.stub.name).symlink_to(self.stub)
        return backends

    def environment(self, directory: Path) -> dict[str, str]:
        """Return the environment that the server runs in, with links in `directory`.

        Models run in this Python: with its standard library and its installed packages. The stub's interpreter is
        isolated: it reads no PYTHON* variable and finds both through the `python3` that is first in PATH, and through
        the pyvenv.cfg beside it.

        Raises:
            ServerError: if this Python has no shared library.

        """
        library = find_libpython()
        libraries, programs = directory / "lib", Path(sys.prefix) / "bin"
        libraries.mkdir()
        (libraries / library.name).symlink_to(library)
        if sys.prefix == sys.base_prefix:  # no virtual environment: `python3` may be another version
            programs = directory / "bin"
            programs.mkdir()
            (programs / "python3").symlink_to(sys.executable)
        environment = dict(os.environ)
        environment["LD_LIBRARY_PATH"] = _join(libraries, self.libraries, os.environ.get("LD_LIBRARY_PATH"))
        environment["PATH"] = _join(programs, os.environ.get("PATH"))
        return environment


def find_libpython() -> Path:
    """Find the shared library of the running Python, which the Python backend's stub loads.

    Raises:
        ServerError: if there is none.

    """
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    folders = [sysconfig.get_config_var("LIBDIR") or "", str(Path(sys.base_prefix) / "lib")]
    for folder in folders:
        if folder and (Path(folder) / name).exists():
            return Path(folder) / name
    try:
        ctypes.CDLL(name)
    except OSError:
        raise ServerError(
            f"{sys.executable} has no shared library {name} (looked in {', '.join(filter(None, folders))} and the "
            f"system's folders): install it, on Debian and Ubuntu with `apt-get install {name.split('.so')[0]}`"
        ) from None
    return _loaded(name)


def check_glibc() -> None:
    """Check that the machine's C library is new enough for the server.

    Raises:
        ServerError: with the version found and the one expected.

    """
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
        version = tuple(int(part) for part in text.split()[-1].split(".")[:2])
    except (ValueError, OSError, IndexError):
        text, version = "no glibc", (0, 0)
    if version < MIN_GLIBC:
        wanted = ".".join(map(str, MIN_GLIBC))
        raise ServerError(
            f"the Triton server needs glibc {wanted} or newer, this machine has {text}: "
            "use Debian 12, Ubuntu 22.04 or newer, or the container"
        )


def _loaded(name: str) -> Path:
    """Return the path from which the loader has taken the library `name`."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        if line.endswith("/" + name):
            return Path(line.split(maxsplit=5)[5])
    raise ServerError(f"{name} was loaded, but /proc/self/maps does not tell from where")


def _join(*parts: str | Path | None) -> str:
    """Join the parts of a search path, leaving out the empty ones."""
    return ":".join(str(part) for part in parts if part)

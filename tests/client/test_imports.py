"""The client needs NumPy and, for gRPC, tritonclient: nothing of what builds, analyses or serves.

Of this project it uses itself and the arithmetic of `preprocess`, which needs NumPy alone.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

OURS = {"sifigan_triton", "preprocess"}
SCRIPT = """
import sys
before = set(sys.modules)
{statement}
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(loaded - set(sys.stdlib_module_names)))
"""


def loaded(statement: str) -> set[str]:
    """Return the packages outside the standard library that a statement loads into a fresh interpreter."""
    command = [sys.executable, "-c", SCRIPT.format(statement=statement)]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def private(names: set[str]) -> set[str]:
    """Return names without those that extension modules invent."""
    return {name for name in names if not name.startswith(("_", "cython"))}


def connect(url: str, shared_memory: str | None) -> str:
    """Return the statement that opens and closes a client."""
    call = f"SifiganClient({url!r}, shared_memory={shared_memory!r}).close()"
    return f"from sifigan_triton.client import SifiganClient; {call}"


@pytest.mark.parametrize("shared_memory", [None, "system", "cuda"])
def test_http_needs_numpy_alone(shared_memory: str | None) -> None:
    assert private(loaded(connect("localhost:8000", shared_memory))) == {"numpy"} | OURS


def test_grpc_needs_what_tritonclient_brings() -> None:
    names = private(loaded(connect("grpc://localhost:8001", None)))
    assert "tritonclient" in names
    assert names == OURS | private(loaded("import tritonclient.grpc"))

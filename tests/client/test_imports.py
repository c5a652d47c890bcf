"""The client needs NumPy and, for gRPC, tritonclient: nothing of what builds, analyses or serves."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


def test_http_needs_numpy() -> None:
    names = loaded("from sifigan_triton.client import SifiganClient; SifiganClient('localhost:8000').close()")
    assert private(names) == {"numpy", "sifigan_triton"}


@pytest.mark.parametrize("kind", ["system", "cuda"])
def test_shared_memory_needs_nothing_more(kind: str) -> None:
    names = loaded(
        f"from sifigan_triton.client import SifiganClient; SifiganClient('localhost:8000', shared_memory={kind!r}).close()"
    )
    assert private(names) == {"numpy", "sifigan_triton"}


def test_grpc_needs_tritonclient_and_what_that_brings() -> None:
    names = loaded("from sifigan_triton.client import SifiganClient; SifiganClient('grpc://localhost:8001').close()")
    assert private(names) <= {"numpy", "sifigan_triton", "tritonclient", "grpc", "google", "rapidjson"}
    assert "tritonclient" in names

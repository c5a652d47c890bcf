"""The rooms of the code and the arrows between them: who may import from whom, and who does without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

BASE = frozenset({"files", "version"})
"""What every room may use: files that appear whole, and the version."""
ARROWS: dict[str, frozenset[str]] = {
    "preprocess": frozenset(),
    "postprocess": frozenset(),
    "files": frozenset(),
    "network": frozenset({"preprocess"}),
    "features": frozenset({"preprocess", "postprocess"}),
    "voice": frozenset({"preprocess", "network"}),
    "quality": frozenset({"preprocess", "features"}),
    "repository": frozenset({"preprocess", "postprocess"}),
    "build": frozenset({"preprocess", "postprocess", "network", "voice", "features", "quality", "repository"}),
    "store": frozenset({"repository"}),
    "server": frozenset({"repository", "store"}),
    "client": frozenset({"preprocess"}),
    "bulk": frozenset({"preprocess", "features", "client"}),
    "capacity": frozenset({"features", "repository", "server", "client"}),
    "measure": frozenset({"preprocess", "features", "repository", "server", "client"}),
}
"""For each room those it may import from, beside itself and the base; the command line may import from all."""
PACKAGES = ("preprocess", "postprocess", "sifigan_triton")


def room(module: str) -> str | None:
    """Return the room of a module of ours; None for other people's."""
    first, _, rest = module.partition(".")
    if first not in PACKAGES:
        return None
    return (rest.partition(".")[0] or "version") if first == "sifigan_triton" else first


def imported(path: Path) -> set[str]:
    """Return the rooms that a file imports from, also within functions and by relative imports."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {room(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            if module == "sifigan_triton":
                found |= {room(f"{module}.{alias.name}") for alias in node.names if not alias.name.startswith("__")}
            else:
                found.add(room(module))
    return {name for name in found if name is not None}


def files(name: str) -> list[Path]:
    """Return the files of a room; adapters import what is staged beside them."""
    folder = ROOT / name if name in PACKAGES else ROOT / "sifigan_triton" / name
    single = folder.with_suffix(".py")
    return [single] if single.is_file() else [path for path in folder.rglob("*.py") if "adapters" not in path.parts]


def test_every_room_has_its_arrows() -> None:
    rooms = {path.stem for path in (ROOT / "sifigan_triton").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__main__", "__pycache__", "py"} - {"cli"} == ARROWS.keys() - set(PACKAGES)


@pytest.mark.parametrize("name", ARROWS)
def test_arrows(name: str) -> None:
    allowed = ARROWS[name] | BASE | {name}
    wrong = {str(path.relative_to(ROOT)): imported(path) - allowed for path in files(name)}
    assert files(name)
    assert {path: rooms for path, rooms in wrong.items() if rooms} == {}


def test_arrows_point_one_way() -> None:
    """No room can be reached from itself."""
    for name in ARROWS:
        reached, waiting = set(), set(ARROWS[name])
        while waiting:
            step = waiting.pop()
            reached.add(step)
            waiting |= ARROWS[step] - reached
        assert name not in reached


@pytest.mark.parametrize("name", ["server", "client"])
def test_servers_and_clients_need_no_torch(name: str) -> None:
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files(name)]
    code = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"torch", "onnx", "onnxruntime", "openvino", "scipy", "matplotlib", "soundfile", "pyworld"}
    assert heavy & set(done.stdout.split()) == set()

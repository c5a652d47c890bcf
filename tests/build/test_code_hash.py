"""An engine is made anew when code changes that makes or judges it, and only then."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sifigan_triton.build.code_hash import PACKAGES, ROOT, code_hash, engine_modules


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of our packages."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_rooms_that_make_and_judge_engines_are_in() -> None:
    rooms = {".".join(name.split(".")[:2]) for name in engine_modules() if name.startswith("sifigan_triton.")}
    assert rooms == {f"sifigan_triton.{room}" for room in ("build", "features", "files", "network", "quality")} | {
        "sifigan_triton.repository",
        "sifigan_triton.voice",
    }


@pytest.mark.parametrize(
    "file",
    [
        "preprocess/f0.py",
        "preprocess/excitation.py",
        "postprocess/merge.py",
        "sifigan_triton/network/export.py",
        "sifigan_triton/network/toom_cook.py",
        "sifigan_triton/build/gate.py",
        "sifigan_triton/build/mixed_precision.py",
        "sifigan_triton/quality/visqol.py",
        "sifigan_triton/repository/runtimes/openvino_runtime.py",
        "sifigan_triton/repository/runtimes/onnx_runtime.py",
        "sifigan_triton/repository/runtimes/pt_runtime.py",
        "sifigan_triton/repository/runtimes/trt_runtime.py",
        "sifigan_triton/repository/runtimes/sized_engine.py",
    ],
)
def test_a_change_of_what_makes_or_judges_engines_counts(copy: Path, file: str) -> None:
    (copy / file).write_text((copy / file).read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    code_hash.cache_clear()
    assert code_hash(copy) != code_hash(ROOT)


def test_a_change_of_anything_around_them_does_not_count(copy: Path) -> None:
    around = [
        *(copy / "sifigan_triton" / room for room in ("cli", "client", "measure", "server", "repository/adapters")),
        copy / "sifigan_triton" / "repository" / "ensemble_config.py",
        copy / "sifigan_triton" / "build" / "model_repository.py",
        copy / "sifigan_triton" / "build" / "tensorrt" / "check.py",
        copy / "sifigan_triton" / "voice" / "importing.py",
    ]
    files = [file for path in around for file in (path.glob("*.py") if path.is_dir() else [path])]
    assert len(files) > 20
    for file in files:
        file.write_text(file.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    code_hash.cache_clear()
    assert code_hash(copy) == code_hash(ROOT)


def test_imports_of_every_form_are_followed(copy: Path) -> None:
    package = copy / "preprocess"
    forms = {
        "one": "def late():\n    from .two import THING",
        "two": "from . import three",
        "three": "import preprocess.four as four, json",
        "four": "import importlib as i\n\ndef load(kind):\n    return i.import_module(f'preprocess.{kind}_six')",
        "five_six": "from preprocess import nothing_of_ours",
    }
    for name, text in forms.items():
        (package / f"{name}.py").write_text(text)
    entry = copy / "sifigan_triton/build/engine_builder.py"
    before = set(engine_modules(copy))
    entry.write_text(entry.read_text(encoding="utf-8") + "\nimport preprocess.one\n", encoding="utf-8")
    assert set(engine_modules(copy)) - before == {f"preprocess.{name}" for name in forms}

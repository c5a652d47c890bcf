"""Staging folders, model folders that work alone, and publishing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.model_plan import ModelPlan, plan_models
from sifigan_triton.repository.staging import publish, stage_model, staging_folder
from tests.small_voice import small_settings, small_voice

KIND = ENGINES["openvino-fp32"]
SETTINGS = small_settings(small_voice()[0])[0]

PREPROCESS = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from pathlib import Path
import preprocess
from preprocess import Settings, Voice
assert Path(preprocess.__file__).is_relative_to(sys.argv[1]), preprocess.__file__
voice = Voice.load(Path(sys.argv[2]))
settings = Settings(voice, window=32, halo=50, f0_floor=100.0, max_batch_size=8)
zeros = [np.zeros((40, width), np.float32) for width in (40, 3)]
print(preprocess.preprocess(np.full(40, 200.0, np.float32), *zeros, settings).features.shape)
foreign = [name for name in ("torch", "sifigan_triton", "tritonclient") if name in sys.modules]
assert not foreign, foreign
"""

POSTPROCESS = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from pathlib import Path
import postprocess
assert Path(postprocess.__file__).is_relative_to(sys.argv[1]), postprocess.__file__
print(postprocess.to_pcm16(postprocess.merge(np.ones((2, 1, 8), np.float32), 12)).shape)
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def run_isolated(code: str, cwd: Path, *arguments: Path) -> str:
    """Run code in a Python that sees NumPy and the given folder, but neither this checkout nor the environment."""
    command = [sys.executable, "-I", "-c", code, *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_folder_lies_beside_the_output_and_goes_away(tmp_path: Path) -> None:
    with staging_folder(tmp_path / "models") as folder:
        write(folder / "x" / "1" / "model.py", "")
        assert folder.parent == tmp_path  # Triton would take a folder among the models for one of them
        assert folder.name.startswith(".models-staging-")
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_folder_goes_away_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with staging_folder(tmp_path / "models") as folder:
            write(folder / "model.onnx", "half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_folder_of_a_killed_build_is_removed_and_that_of_a_running_one_kept(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    killed, running = (tmp_path / f".models-staging-{pid}-abc" for pid in (ended.pid, os.getppid()))
    write(killed / "model.onnx", "half")
    write(running / "model.onnx", "half")
    own = write(tmp_path / ".models-staging-notes" / "file", "a user's")
    with staging_folder(tmp_path / "models"):
        assert not killed.exists()
    assert own.exists()
    assert (running / "model.onnx").read_text() == "half"


def test_publish_moves_new_and_changed_files_only(tmp_path: Path) -> None:
    staging, output = tmp_path / "staging", tmp_path / "output"
    for name, old, new in [("a", "same", "same"), ("b", "old", "new"), ("c", None, "new")]:
        write(staging / name / "1" / "file", new)
        if old is not None:
            write(output / name / "1" / "file", old)
    foreign = write(output / "b" / "2" / "file", "another version")
    untouched = (output / "a" / "1" / "file").stat()
    assert publish(staging, output) == [output / "b" / "1" / "file", output / "c" / "1" / "file"]
    assert [(output / name / "1" / "file").read_text() for name in "abc"] == ["same", "new", "new"]
    assert (output / "a" / "1" / "file").stat().st_ino == untouched.st_ino
    assert foreign.read_text() == "another version"


def test_published_file_is_replaced_not_rewritten(tmp_path: Path) -> None:
    target = write(tmp_path / "output" / "m" / "file", "old engine")
    write(tmp_path / "staging" / "m" / "file", "new engine")
    with target.open() as held:  # as a server holds it
        publish(tmp_path / "staging", tmp_path / "output")
        assert held.read() == "old engine"
    assert target.read_text() == "new engine"


def plan_of(name: str) -> ModelPlan:
    return next(plan for plan in plan_models(SETTINGS, "", [KIND], KIND) if plan.name == name)


def test_ensemble_gets_a_version_folder_that_object_stores_keep(tmp_path: Path) -> None:
    plan = plan_of("sifigan")
    stage_model(tmp_path / "staging", plan)
    publish(tmp_path / "staging", tmp_path / "output")
    assert any((tmp_path / "output" / "sifigan" / "1").iterdir())
    assert (tmp_path / "output" / "sifigan" / "config.pbtxt").read_text() == plan.config_text


@pytest.mark.parametrize("model", ["preprocess", "preprocess-tensors", "postprocess", KIND.model])
def test_a_python_model_gets_its_adapter_as_model_py(tmp_path: Path, model: str) -> None:
    version = stage_model(tmp_path, plan_of(model))
    assert version == tmp_path / model / "1"
    assert "class TritonPythonModel" in (version / "model.py").read_text()


@pytest.mark.parametrize("model", ["preprocess", "preprocess-tensors", "postprocess", KIND.model])
def test_all_that_a_python_model_imports_lies_beside_it(tmp_path: Path, model: str) -> None:
    version = stage_model(tmp_path, plan_of(model))
    imported = {
        node.module.split(".")[0]
        for file in version.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level and node.module
    }
    there = {path.stem for path in version.glob("*.py")} | {path.parent.name for path in version.glob("*/__init__.py")}
    assert imported <= there
    assert "deadline" in imported
    assert not [path for path in version.glob("*_model.py")]


def test_an_engine_of_the_container_has_nothing_but_its_file(tmp_path: Path) -> None:
    (plan,) = (plan for plan in plan_models(SETTINGS, "", [KIND], KIND, "container") if plan.name == KIND.model)
    assert list(stage_model(tmp_path, plan).iterdir()) == []


def test_staged_packages_work_alone(tmp_path: Path) -> None:
    first, last = (stage_model(tmp_path, plan_of(name)) for name in ("preprocess", "postprocess"))
    assert run_isolated(PREPROCESS, tmp_path, first, first / "voice.json") == "(2, 43, 132)"
    assert run_isolated(POSTPROCESS, tmp_path, last) == "(12,)"


def test_staged_packages_hold_sources_only(tmp_path: Path) -> None:
    versions = [stage_model(tmp_path, plan_of(name)) for name in ("preprocess", "postprocess")]
    files = [path for version in versions for path in (version / version.parent.name).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".py"}

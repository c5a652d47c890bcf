"""A build that fails or is interrupted leaves nothing half-made behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sifigan_triton.build import engine_builder
from sifigan_triton.build.model_repository import BuildOptions, GateError, build
from sifigan_triton.network import export
from tests.small_build import OPENVINO, ROOT, contents, leftovers, openvino_engines, smaller_windows
from tests.small_voice import one_thread


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.mark.parametrize(
    ("module", "where"),
    [pytest.param(export, "export_cpu_onnx", id="export"), pytest.param(engine_builder, "judge_engine", id="gate")],
)
@pytest.mark.parametrize(
    "error", [GateError("3 dB", 3.0), KeyboardInterrupt(), OSError("No space left")], ids=lambda e: type(e).__name__
)
def test_failed_build_leaves_the_previous_one(
    options: BuildOptions,
    exports: list[str],
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    where: str,
    error: BaseException,
) -> None:
    build(options)
    before = contents(options.output)

    def fail(*arguments: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(module, where, fail)
        with pytest.raises(type(error)):
            build(replace(options, window=48))
    assert contents(options.output) == before
    assert leftovers(options.output) == []
    build(replace(options, window=48))
    assert openvino_engines(options.output) == exports[-2:]


def interrupted_publish(monkeypatch: pytest.MonkeyPatch, after: int, action: Callable[[], Any]) -> bool:
    """Run a build that is interrupted after so many files were put in place; tell whether it was."""
    replaced = 0
    original = Path.replace

    def replace_some(self: Path, target: Path) -> Path:
        nonlocal replaced
        if replaced == after:
            raise KeyboardInterrupt
        replaced += 1
        return original(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_some)
        try:
            action()
        except KeyboardInterrupt:
            return True
    return False


def loaded(folder: Path) -> dict[str, bytes]:
    """Return every file but the engines of windows that the manifest does not name: those of other builds stay."""
    version = f"{OPENVINO.model}/1/"
    named = {version + name for name in smaller_windows(folder)}
    files = contents(folder)
    stale = {name for name in files if re.fullmatch(rf"{version}\d+/model\.onnx", name)} - named
    return {name: content for name, content in files.items() if name not in stale}


@pytest.mark.parametrize("later", ["the-new-one", "the-old-one"])
def test_build_interrupted_between_two_files_is_mended_by_the_next(
    options: BuildOptions, exports: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, later: str
) -> None:
    """Whatever file the interruption falls on: no later build takes the engine of other options for its own."""
    old, new = options, replace(options, window=48)
    final = new if later == "the-new-one" else old
    build(replace(final, output=tmp_path / "expected"))
    expected = loaded(tmp_path / "expected")
    assert expected == contents(tmp_path / "expected")
    for after in range(30):
        build(old)
        was_interrupted = interrupted_publish(monkeypatch, after, lambda: build(new))
        build(final)
        assert loaded(options.output) == expected, f"interrupted after {after} files"
        if not was_interrupted:
            break
    assert 3 < after < 30


def start_real_build(options: BuildOptions, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "build_engines.py", "--voice", options.voice, "--output", options.output]
    command += ["--engine", "openvino-fp32", "--window", "40", "--f0-floor", "400"]
    return subprocess.Popen(
        list(map(str, command)), cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )


def test_build_killed_while_exporting_leaves_the_previous_one(options: BuildOptions, exports: list[str]) -> None:
    build(options)
    before = contents(options.output)
    with start_real_build(options, OMP_NUM_THREADS="1") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "making the engine" in line:
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert contents(options.output) == before
    assert len(leftovers(options.output)) == 1
    build(replace(options, window=48))
    assert leftovers(options.output) == []
    assert openvino_engines(options.output) == exports[-2:]

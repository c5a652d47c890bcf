"""Voices of one repository: each build adds or renews its own, and leaves every file of the others alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from preprocess import Voice
from sifigan_triton.build.model_repository import BuildError, BuildOptions, build
from sifigan_triton.cli.main import main
from sifigan_triton.repository.servable import find_servable
from sifigan_triton.repository.voice_names import voice_of
from sifigan_triton.voice.folder import RANDOM_CARD, random_voice, save_voice
from tests.small_build import OPENVINO, contents, logged


def facts(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return content and time of change of every file of a repository."""
    return {name: (text, (folder / name).stat().st_mtime_ns) for name, text in contents(folder).items()}


def of(voice: str, files: dict[str, Any]) -> dict[str, Any]:
    """Return the files of one voice."""
    return {name: text for name, text in files.items() if voice_of(name.split("/")[0]) == voice}


@pytest.fixture
def others(options: BuildOptions, exports: list[str]) -> BuildOptions:
    """Another voice, for the repository of the first one, which is built."""
    build(options)
    exports.clear()
    folder = options.voice.with_name("other")
    save_voice(folder, *random_voice("other", channels=16, seed=7), RANDOM_CARD)
    return replace(options, voice=folder, name="deep-2", window=64)


def test_a_voice_is_added_beside_those_that_are_there(
    options: BuildOptions, others: BuildOptions, exports: list[str]
) -> None:
    before = facts(options.output)
    with logged() as lines:
        build(others)
    after = facts(options.output)
    assert of("", after) == before
    assert {name.split("/")[0] for name in of("deep-2", after)} == {
        "sifigan-deep-2",
        "sifigan-deep-2-tensors",
        "sifigan-deep-2-openvino-fp32",
        "sifigan-deep-2-ensemble-openvino-fp32",
        "preprocess-deep-2",
        "preprocess-deep-2-tensors",
        "postprocess-deep-2",
    }
    assert "ensemble sifigan-deep-2 runs sifigan-deep-2-openvino-fp32" in lines[-1]
    assert find_servable(options.output).voices == ("sifigan", "sifigan-deep-2")
    assert Voice.from_json((options.output / "preprocess-deep-2" / "1" / "voice.json").read_text()).name == "other"
    exports.clear()
    with logged() as lines:
        assert build(others) == build(options) == []
    assert exports == []
    assert "sifigan-deep-2-openvino-fp32: up to date" in lines


def test_the_code_is_the_same_for_all(options: BuildOptions, others: BuildOptions) -> None:
    build(others)
    files = contents(options.output)
    for name in (name for name in of("deep-2", files) if name.endswith(".py")):
        assert files[name] == files[name.replace("-deep-2", "")]


def test_a_voice_is_renewed_alone(options: BuildOptions, others: BuildOptions) -> None:
    build(others)
    before = facts(options.output)
    build(replace(others, window=32))
    after = facts(options.output)
    assert of("", after) == of("", before)
    assert of("deep-2", after) != of("deep-2", before)
    manifest = json.loads((options.output / "preprocess-deep-2" / "1" / "manifest.json").read_text())
    assert manifest["window"] == 32


def test_a_voice_is_removed_alone(
    options: BuildOptions, others: BuildOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = facts(options.output)
    build(others)
    build(replace(others, name="deep"))
    command = ["voices", "--model-repository", str(options.output)]
    assert main([*command, "--remove", "deep"]) == 0
    assert {voice_of(path.name) for path in options.output.iterdir()} == {"", "deep-2"}
    assert main([*command, "--remove", "deep"]) == 1
    assert "has no voice deep, expected one of: deep-2" in capsys.readouterr().err
    assert main([*command, "--remove", "deep-2"]) == 0
    assert facts(options.output) == plain


def test_the_list_tells_each_voice_and_why_it_cannot_be_served(
    options: BuildOptions, others: BuildOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    build(others)
    command = ["voices", "--model-repository", str(options.output)]
    assert main(command) == 0
    _, plain, named = capsys.readouterr().out.splitlines()
    assert plain.split()[:6] == ["sifigan", "small", "openvino-fp32", "-", "32", "400"]
    assert named.split()[:6] == ["sifigan-deep-2", "other", "openvino-fp32", "-", "64", "400"]
    for voice in ("", "-deep-2"):
        (options.output / f"sifigan{voice}-openvino-fp32" / "1" / "model.onnx").write_text("damaged")
        assert main(command) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"sifigan{voice} ")]
        assert "cannot be served: its step" in line
    shutil.rmtree(options.output)
    assert main(command) == 1
    assert "is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["openvino-fp32", "a_b", "tensors"])
def test_a_name_that_cannot_be_is_refused_before_anything_is_made(options: BuildOptions, name: str) -> None:
    with pytest.raises(BuildError, match=r"^--as: the voice's name is"):
        build(replace(options, name=name))
    assert not options.output.exists()


def test_a_name_wants_a_repository(options: BuildOptions, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--voice", str(options.voice), "--as", "a", "--engine", OPENVINO.name]) == 1
    assert "--as a adds a voice to a repository: name it with --output" in capsys.readouterr().err

"""Options of a build: what they name, and what is refused."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from preprocess.voice import VoiceError
from sifigan_triton.build import options as build_options
from sifigan_triton.build.model_repository import BuildError, BuildOptions, build
from sifigan_triton.build.options import cpu_has_bf16
from sifigan_triton.cli import build as build_command
from sifigan_triton.cli.main import main
from tests.small_build import ONNX, OPENVINO


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param({"window": 0}, ValueError, "window of 0 frames, expected at least 1", id="window"),
        pytest.param({"f0_floor": -1.0}, ValueError, "f0_floor of -1 Hz, expected at least 1 Hz", id="floor"),
        pytest.param({"f0_floor": 1e-6}, ValueError, "f0_floor of 1e-06 Hz, expected at least 1 Hz", id="tiny floor"),
        pytest.param({"max_batch_size": 0}, BuildError, "--max-batch is 0, expected at least 1", id="max batch"),
        pytest.param({"voice": Path("nowhere")}, VoiceError, "nowhere/voice.json: No such file", id="voice"),
    ],
)
def test_bad_options_are_refused(
    options: BuildOptions, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(replace(options, **change))
    assert not options.output.exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param("flags : fpu sse avx2 f16c", False, id="avx2"),
        pytest.param("flags : avx512f avx512_bf16", True, id="avx512-bf16"),
        pytest.param("flags : amx_tile amx_bf16 amx_int8", True, id="amx"),
        pytest.param("flags : avx512f avx512_vnni", False, id="avx512-without-bf16"),
        pytest.param("", False, id="unknown"),
    ],
)
def test_bf16_is_read_from_cpuinfo(flags: str, expected: bool) -> None:
    assert cpu_has_bf16(flags) is expected


def test_command_line_builds(options: BuildOptions, exports: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--voice", options.voice, "--output", options.output, "--window", 32, "--f0-floor", 400]
    arguments += ["--engine", "onnx-fp32", "--engine", "openvino-fp32", "--default-engine", "onnx-fp32"]
    assert main(["build", *map(str, arguments)]) == 0
    assert f"ensemble sifigan runs {ONNX.model}" in capsys.readouterr().out
    assert {OPENVINO.model, ONNX.model} <= {path.name for path in options.output.iterdir()}


def test_command_line_gives_one_line_for_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--voice", str(tmp_path), "--output", str(tmp_path / "models")]) == 1
    assert capsys.readouterr().err == f"sifigan-triton build: {tmp_path / 'voice.json'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "onnx-fp32", "--precision", "fp16"], "--precision is fp16, but --engine names onnx-fp32"),
        (["--engine", "openvino", "--precision", "fp16"], "there is no engine openvino-fp16, expected one of pt-fp32"),
        (["--engine", "onnx-fp16", "--gate-data", "x.json"], "--gate-data: x.json is no file, and onnx-fp16 has to be"),
        (["--engine", "onnx-fp32", "--keep-fp32", "auto"], "--keep-fp32 is for FP16 engines, got onnx-fp32"),
        (["--engine", "onnx-fp16", "--bound", "snr"], "bound is 'snr', expected name=value"),
    ],
)
def test_contradicting_options_are_refused(
    options: BuildOptions, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    common = ["--voice", str(options.voice), "--output", str(options.output)]
    assert main(["build", *common, *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--engine", "onnx", "--precision", "fp16"], ["onnx-fp16"]),
        (["--engine", "onnx", "--engine", "pt"], ["onnx-fp32", "pt-fp32"]),
        (["--precision", "fp16"], ["pt-fp16", "onnx-fp16"]),
        (["--engine", "all"], ["pt-fp32", "pt-fp16", "onnx-fp32", "onnx-fp16", "openvino-fp32", "openvino-bf16"]),
    ],
)
def test_engines_by_runtime_and_precision(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: list[str]
) -> None:
    asked: list[BuildOptions] = []
    monkeypatch.setattr(build_options, "has_tensorrt", lambda: False)
    monkeypatch.setattr(build_command, "build", lambda options: asked.append(options))
    assert main(["build", *arguments]) == 0
    assert [kind.name for kind in asked[0].engines] == expected


def test_the_console_shows_plain_lines_and_warnings_with_their_level(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("sifigan_triton.build.somewhere")

    def speak(options: BuildOptions) -> None:
        logger.debug("details")
        logger.info("a line")
        logger.warning("mind the gap")

    monkeypatch.setattr(build_command, "build", speak)
    for flags, out in (([], "a line\n"), (["--verbose"], "details\na line\n")):
        assert main(["build", "--engine", "onnx-fp32", *flags]) == 0
        assert tuple(capsys.readouterr()) == (out, "WARNING: mind the gap\n")
    logger.warning("nobody listens any more")
    assert tuple(capsys.readouterr()) == ("", "")


def test_a_console_that_is_gone_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError("the console is gone")

    reached: list[str] = []

    def speak(options: BuildOptions) -> None:
        logging.getLogger("sifigan_triton.build.somewhere").info("a line")
        reached.append("the next line")

    monkeypatch.setattr(build_command, "build", speak)
    monkeypatch.setattr("sys.stdout", Gone())
    assert main(["build", "--engine", "onnx-fp32"]) == 1
    assert reached == []

"""Damaged files of a repository: found before a server starts, named where it starts on them, mended by a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from sifigan_triton.build.model_repository import BuildOptions, build
from sifigan_triton.repository.servable import find_servable
from sifigan_triton.server.triton_server import ServerError, TritonServer
from sifigan_triton.voice.folder import save_voice
from tests.small_build import ONNX, OPENVINO, contents
from tests.small_voice import one_thread, small_voice


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_one_bit_in_any_file_that_is_loaded_keeps_its_model_out(options: BuildOptions, exports: list[str]) -> None:
    """Configurations are left to the operator; an ensemble's README is read by nobody."""
    build(options)
    before = contents(options.output)
    loaded = [name for name in before if "/1/" in name and not name.endswith(("/README", "/SHA256SUMS"))]
    loaded.remove(f"{OPENVINO.model}/1/manifest.json")  # its own hashes cover the engines
    for name in (f"{OPENVINO.model}/1/16/model.onnx", "preprocess/1/voice.json", "postprocess/1/postprocess/merge.py"):
        assert name in loaded
    for name in loaded:
        flip(options.output / name)
        model, _, part = name.split("/", 2)
        other = "postprocess" if model != "postprocess" else "preprocess"
        left_out = find_servable(options.output, (other,)).left_out
        assert left_out[model].startswith(f"{part} is not the file that its "), name
        assert left_out[model].endswith("build it again: sifigan-triton build"), name
        assert f"its step {model} is left out" in " ".join(left_out.values()), name
        (options.output / name).write_bytes(before[name])
    flip(options.output / "preprocess" / "1" / "voice.json")
    flip(options.output / OPENVINO.model / "1" / "16" / "model.onnx")
    build(options)
    assert contents(options.output) == before
    assert find_servable(options.output).left_out == {}


@pytest.mark.parametrize("part", ["voice.json", "preprocess/windows.py"])
def test_a_missing_file_is_named(options: BuildOptions, exports: list[str], part: str) -> None:
    build(options)
    (options.output / "preprocess" / "1" / part).unlink()
    left_out = find_servable(options.output, ("postprocess",)).left_out
    assert left_out["preprocess"].startswith(f"{part} is missing, which its SHA256SUMS describes: build it again")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real build of two engines."""
    folder = tmp_path_factory.mktemp("build")
    save_voice(folder / "voice", *small_voice(), "# Card\n")
    with one_thread():
        build(BuildOptions(folder / "voice", folder / "models", (OPENVINO, ONNX), OPENVINO, 32, 400.0))
    return folder / "models"


@pytest.mark.server
@pytest.mark.parametrize(
    "name", [f"{OPENVINO.model}/1/model.onnx", f"{OPENVINO.model}/1/16/model.onnx", f"{ONNX.model}/1/model.onnx"]
)
def test_an_engine_that_is_damaged_after_the_check_ends_the_start_with_the_reason(repository: Path, name: str) -> None:
    servable = find_servable(repository)
    engine = repository / name
    whole = engine.read_bytes()
    engine.write_bytes(whole[: len(whole) // 2])
    server = TritonServer(repository, models=servable.models, http_port=0, grpc_port=0, metrics_port=0)
    try:
        with pytest.raises(ServerError) as raised, server:
            pass
        assert f"model '{name.split('/')[0]}' version 1" in str(raised.value)
        assert "fix: a file of the model is damaged: run sifigan-triton build" in str(raised.value)
        assert server.pid is None
        with pytest.raises(RuntimeError, match=r"model\.onnx is not the file that its manifest describes"):
            find_servable(repository, [f"sifigan-ensemble-{name.split('/')[0].removeprefix('sifigan-')}"])
    finally:
        engine.write_bytes(whole)

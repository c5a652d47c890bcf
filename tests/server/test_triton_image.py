"""Where the Triton server of NVIDIA's image is found, and when it is taken instead of the wheel's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sifigan_triton.server import triton_image
from sifigan_triton.server.triton_image import TritonImage, find_triton
from sifigan_triton.server.triton_wheel import ServerError, TritonWheel
from tests.container_scripts import fake


def installation(root: Path) -> TritonImage:
    """Write an installation that is laid out like NVIDIA's."""
    fake(root / "bin" / "tritonserver")
    (root / "backends").mkdir()
    return TritonImage(root)


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TritonImage:
    """Where NVIDIA's image has it."""
    monkeypatch.setattr(triton_image, "ROOT", tmp_path / "opt")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return installation(tmp_path / "opt")


def test_found_on_the_path_else_where_the_image_has_it(
    image: TritonImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TritonImage.find() == image
    other = installation(tmp_path / "other")
    monkeypatch.setenv("PATH", str(other.binary.parent))
    assert TritonImage.find() == other
    (tmp_path / "other" / "backends").rmdir()  # a link to a program that lies elsewhere
    assert TritonImage.find() == image


def test_runs_as_it_lies_there(image: TritonImage, tmp_path: Path) -> None:
    assert image.stage_backends(tmp_path / "own") == image.root / "backends"
    assert image.environment(tmp_path / "own") == dict(os.environ)
    assert image.caches == image.root / "caches"
    assert not (tmp_path / "own").exists()


def test_missing(image: TritonImage) -> None:
    image.binary.unlink()
    with pytest.raises(ServerError, match=f"the Triton server is missing: looked for {image.binary}"):
        TritonImage.find()


def test_the_wheel_is_taken_where_it_is(image: TritonImage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_triton() == TritonWheel.find()
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "pytriton", raising=False)
    assert find_triton() == image
    image.binary.unlink()
    with pytest.raises(ServerError, match="has no package nvidia-pytriton"):
        find_triton()

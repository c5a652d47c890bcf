"""Model folders made in a staging folder and published file by file, so that nothing half-made is ever in place."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import postprocess
import preprocess
from sifigan_triton import adapters

VERSION = "1"
"""Triton's version folder of every model."""


@contextmanager
def staging_folder(output: Path) -> Iterator[Path]:
    """Give a folder beside the models of `output`, on the same file system; it is removed afterwards.

    Folders that killed builds left behind are removed first.
    """
    output.mkdir(parents=True, exist_ok=True)
    for left in output.glob(".staging-[0-9]*-*"):
        if not Path("/proc", left.name.split("-")[1]).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".staging-{os.getpid()}-", dir=output))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stage_model(folder: Path, name: str, config: str, adapter: str | None) -> Path:
    """Make the folder of one model with its `config.pbtxt` and, if it has one, its `model.py`.

    Returns:
        The model's version folder.

    """
    version = folder / name / VERSION
    version.mkdir(parents=True, exist_ok=True)
    (folder / name / "config.pbtxt").write_text(config, encoding="utf-8")
    if adapter is not None:
        shutil.copyfile(Path(adapters.__path__[0]) / adapter, version / "model.py")
    return version


def stage_packages(preprocess_version: Path, postprocess_version: Path) -> None:
    """Copy the pure packages into the models that use them: a model folder must work alone."""
    for package, version in ((preprocess, preprocess_version), (postprocess, postprocess_version)):
        source = Path(package.__path__[0])
        target = version / source.name
        target.mkdir()
        for file in sorted(source.glob("*.py")):
            shutil.copyfile(file, target / file.name)


def publish(staging: Path, output: Path) -> list[Path]:
    """Move every staged file to its place in `output`; files that would not change stay untouched.

    Each file is replaced in one step. Nothing else in `output` is changed or removed.

    Returns:
        The files that were replaced or added.

    """
    published = []
    for file in sorted(path for path in staging.rglob("*") if path.is_file()):
        target = output / file.relative_to(staging)
        if target.exists() and filecmp.cmp(file, target, shallow=False):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
        published.append(target)
    for folder in (path for path in staging.iterdir() if path.is_dir()):  # an ensemble's version folder holds no file
        (output / folder.name / VERSION).mkdir(parents=True, exist_ok=True)
    return published

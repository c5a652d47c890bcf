"""Model folders made in a staging folder and published file by file, so that nothing half-made is ever in place."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from sifigan_triton.repository import adapters

VERSION = "1"
"""Triton's version folder of every model."""


@contextmanager
def staging_folder(output: Path) -> Iterator[Path]:
    """Give a folder on the file system of `output`, beside it so that Triton does not see it; it is removed afterwards.

    Only where `output` is a mount point does the folder lie inside. Folders that killed builds left behind are removed
    first.
    """
    output.mkdir(parents=True, exist_ok=True)
    place = output.resolve().parent
    if place.stat().st_dev != output.stat().st_dev:
        place = output
    prefix = f".{output.resolve().name}-staging-"
    for left in place.glob(f"{prefix}[0-9]*-*"):
        if not Path("/proc", left.name.removeprefix(prefix).split("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stage_model(folder: Path, name: str, config: str, adapter: str | None) -> Path:
    """Make the folder of one model with its `config.pbtxt` and, if it has one, its `model.py`.

    Args:
        folder: where to make it.
        name: the model's name.
        config: text of its `config.pbtxt`.
        adapter: file in `sifigan_triton/adapters` that becomes its `model.py`; None for a model of another backend.

    Returns:
        The model's version folder.

    """
    version = folder / name / VERSION
    version.mkdir(parents=True, exist_ok=True)
    (folder / name / "config.pbtxt").write_text(config, encoding="utf-8")
    if adapter is not None:
        shutil.copyfile(Path(adapters.__path__[0]) / adapter, version / "model.py")
    return version


def stage_ensemble(folder: Path, name: str, config: str) -> None:
    """Make the folder of an ensemble: Triton loads no model without a version folder, not even an ensemble."""
    version = stage_model(folder, name, config, None)
    (version / "README").write_text("An ensemble has no files, and object stores have no empty folders.\n")


def stage_package(version: Path, package: ModuleType) -> None:
    """Copy a pure package into a model that uses it: a model folder must work alone."""
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
    return published

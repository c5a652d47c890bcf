"""Model folders made in a staging folder and published file by file, so that nothing half-made is ever in place."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sifigan_triton.repository import adapters
from sifigan_triton.repository.model_plan import ModelPlan
from sifigan_triton.repository.servable import VERSION


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


def stage_model(folder: Path, plan: ModelPlan) -> Path:
    """Make the folder of one model.

    Args:
        folder: where to make it.
        plan: what it holds.

    Returns:
        The model's version folder.

    """
    version = folder / plan.name / VERSION
    version.mkdir(parents=True, exist_ok=True)
    (folder / plan.name / "config.pbtxt").write_text(plan.config_text, encoding="utf-8")
    if plan.adapter is not None:
        sources = Path(adapters.__path__[0])
        shutil.copyfile(sources / plan.adapter, version / "model.py")
        for file in sources.glob("[!_]*.py"):  # what adapters share
            if not file.name.endswith("_model.py"):
                shutil.copyfile(file, version / file.name)
    for package in plan.packages:
        target = version / package.__name__
        target.mkdir()
        for file in sorted(Path(package.__path__[0]).glob("*.py")):
            shutil.copyfile(file, target / file.name)
    for name, text in plan.files.items():
        (version / name).write_text(text, encoding="utf-8")
    return version


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

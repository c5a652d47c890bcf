"""Model folders made in a staging folder and published file by file, so that nothing half-made is ever in place."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sifigan_triton.files import dropped_on_failure, hidden_beside, mount_points, room_for, write_file
from sifigan_triton.repository import adapters
from sifigan_triton.repository.model_plan import ModelPlan
from sifigan_triton.repository.servable import SUMS_FILE, VERSION


@contextmanager
def staging_folder(output: Path) -> Iterator[Path]:
    """Give a folder on the file system of `output`, beside it so that Triton does not see it; it is removed afterwards.

    Only where `output` is a mount point, or the folder that holds it cannot be written, does the folder lie inside.
    Folders that killed builds left behind are removed first.
    """
    output.mkdir(parents=True, exist_ok=True)
    place = output.resolve().parent
    if output.resolve() in mount_points() or not os.access(place, os.W_OK):
        place = output
    prefix = f".{output.resolve().name}-staging-"
    for left in place.glob(f"{prefix}[0-9]*-*"):
        if not _is_running(left.name.removeprefix(prefix).split("-")[0]):
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
    write_file(folder / plan.name / "config.pbtxt", plan.config_text.encode())
    contents = _contents(plan)
    if plan.adapter is not None:
        sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()]
        contents[SUMS_FILE] = "".join(sums).encode()
    for name, content in contents.items():
        (version / name).parent.mkdir(exist_ok=True)
        write_file(version / name, content)
    return version


def _contents(plan: ModelPlan) -> dict[str, bytes]:
    """Return the files of a version folder, by name, but for an engine's own."""
    contents = {name: text.encode() for name, text in plan.files.items()}
    for package in plan.packages:
        files = sorted(Path(package.__path__[0]).glob("*.py"))
        contents |= {f"{package.__name__}/{file.name}": file.read_bytes() for file in files}
    if plan.adapter is not None:
        sources = Path(adapters.__path__[0])
        contents["model.py"] = (sources / plan.adapter).read_bytes()
        for file in sources.glob("[!_]*.py"):  # what adapters share
            if not file.name.endswith("_model.py"):
                contents[file.name] = file.read_bytes()
    return contents


def publish(staging: Path, output: Path) -> list[Path]:
    """Move every staged file to its place in `output`; files that would not change stay untouched.

    First each is brought beside its place, under a hidden name: moved, or copied to where something else is mounted.
    Only when all are there is each put in its place, in one step, which takes no more room. Nothing else in `output` is
    changed or removed.

    Returns:
        The files that were replaced or added.

    Raises:
        OSError: if a file cannot be brought there (DiskFullError, if it does not fit), or its place is a folder or a
            mount point. Nothing is changed then.

    """
    files = sorted(path for path in staging.rglob("*") if path.is_file())
    places = {output / file.relative_to(staging): file for file in files}
    _remove_left_over({target.parent for target in places})
    changed = {
        target: file
        for target, file in places.items()
        if not (target.exists() and filecmp.cmp(file, target, shallow=False))
    }
    _check_places(changed)
    ready: dict[Path, Path] = {}
    try:
        for target, file in changed.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            ready[target] = hidden_beside(target)
            _bring(file, ready[target], target)
        for target, near in ready.items():
            near.replace(target)
    finally:
        for near in ready.values():
            near.unlink(missing_ok=True)
    return list(changed)


def _bring(file: Path, near: Path, target: Path) -> None:
    """Move a file, or copy it where that is not possible: onto another disk, or another mount of the same one."""
    try:
        file.rename(near)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with room_for(target, file.stat().st_size), dropped_on_failure(near):
            shutil.copyfile(file, near)


def _check_places(targets: Iterable[Path]) -> None:
    """Refuse places that no file can take."""
    mounted = mount_points()
    for target in targets:
        if target.is_dir():
            raise IsADirectoryError(f"{target}: is a folder, expected a file or nothing: remove it")
        if target.parent.resolve() / target.name in mounted:
            raise OSError(
                f"{target}: is mounted by itself, so that it cannot be replaced in one step: mount the folder "
                f"{target.parent} or the whole repository instead"
            )


def _remove_left_over(folders: Iterable[Path]) -> None:
    """Remove what killed builds brought beside its place."""
    for folder in folders:
        for left in folder.glob(".*.tmp"):
            writer = re.fullmatch(r"\..+\.(\d+)-[0-9a-f]{8}\.tmp", left.name)
            if writer and not _is_running(writer[1]):
                left.unlink(missing_ok=True)


def _is_running(process: str) -> bool:
    return Path("/proc", process).exists()

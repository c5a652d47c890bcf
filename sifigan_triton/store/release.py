"""A release: a whole model repository, and the list of its files by which everybody knows that it is whole.

    releases/<id>/<model>/...       the files, as in the repository: a bare Triton may load this folder, too
    releases/<id>/RELEASE.json      their sizes and hashes; written when all of them are there
    current                         which release is served; the one object that ever changes

The id is the hash of the list: the same repository is the same release, whoever publishes it, and two that publish at
once write the same bytes or into different folders.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sifigan_triton.store.address import RELEASE_ID, StoreError

RELEASES, RELEASE_FILE, CURRENT = "releases", "RELEASE.json", "current"
MAX_LIST_BYTES, MAX_CURRENT_BYTES = 4 * 2**20, 2**14
MAX_FILES, MAX_BYTES = 10_000, 2**38
"""Most files of a release and their bytes (256 GiB): more is no model repository."""
_PART = re.compile(r"[A-Za-z0-9_+,=-][A-Za-z0-9_+,=. -]{0,199}")
"""A part of a file's path: no hidden files, no `..`."""
_MAX_PARTS = 12
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 2**20
_LEFT_OUT = ("__pycache__", RELEASE_FILE)


@dataclass(frozen=True)
class File:
    """One file of a release."""

    path: str
    """In the repository, with slashes."""
    size: int
    sha256: str


@dataclass(frozen=True)
class Release:
    """The files of a model repository, sorted by path."""

    files: tuple[File, ...]

    @property
    def id(self) -> str:
        """Its name: the beginning of the SHA-256 of its list."""
        return hashlib.sha256(self.to_json()).hexdigest()[:16]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that it holds."""
        return tuple(sorted({file.path.partition("/")[0] for file in self.files}))

    def to_json(self) -> bytes:
        """Return the list as it is stored: the same bytes for the same files."""
        files = {file.path: {"size": file.size, "sha256": file.sha256} for file in self.files}
        return json.dumps({"files": files}, indent=1, sort_keys=True).encode() + b"\n"


def release_key(release: str, path: str = "") -> str:
    """Return the name below the address of a file of a release."""
    return f"{RELEASES}/{release}/{path}"


def scan(repository: Path) -> Release:
    """Read the files of a model repository; hidden ones and Python's caches are none of it.

    Raises:
        StoreError: if a name cannot be stored, or the repository is too large.
        OSError: if a file cannot be read.

    """
    found = []
    for path in sorted(repository.rglob("*")):
        name = path.relative_to(repository)
        if any(part.startswith(".") or part in _LEFT_OUT for part in name.parts) or len(name.parts) < 2:
            continue
        if path.is_symlink() and path.is_dir():
            raise StoreError(f"{path} is a link to a folder, expected files: put a copy of the folder in its place")
        if path.is_file():
            found.append(File(name.as_posix(), path.stat().st_size, file_sha256(path)))
    return _checked(found, str(repository))


def read_release(content: bytes, where: str, release: str) -> Release:
    """Read the list of a release, which may come from a stranger.

    Args:
        content: its bytes.
        where: how it is called in messages.
        release: the id that it was asked for.

    Raises:
        StoreError: if it is none, or that of another release.

    """
    try:
        files = json.loads(content)["files"]
        if len(files) > MAX_FILES:
            raise StoreError(f"{where} lists {len(files):,} files, expected at most {MAX_FILES:,}")
        found = [File(path, about["size"], about["sha256"]) for path, about in files.items()]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise StoreError(f"{where} is no list of a release: publish the repository again") from None
    read = _checked(found, where)
    if read.id != release:
        raise StoreError(
            f"{where} is the list of a release {read.id}, expected {release}: it was changed after it was published; "
            "publish the repository again"
        )
    return read


def read_current(content: bytes, where: str) -> Mapping[str, Any]:
    """Read which release is the current one: `release`, `when` and `previous`, which may be None.

    Raises:
        StoreError: if it does not say so.

    """
    try:
        current = json.loads(content)
        named = [current["release"], *([current["previous"]] if current["previous"] is not None else [])]
        fine = all(RELEASE_ID.fullmatch(name) for name in named) and len(str(current["when"])) < 64
    except (ValueError, LookupError, TypeError, RecursionError):
        fine = False
    if not fine:
        raise StoreError(
            f"{where} does not name a release: switch to one with `sifigan-triton rollback ADDRESS@RELEASE`"
        )
    return {"release": current["release"], "previous": current["previous"], "when": str(current["when"])}


def file_sha256(path: Path) -> str:
    """Return the hash of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:  # hashlib.file_digest came with Python 3.11
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def _checked(files: Iterable[File], where: str) -> Release:
    """Return a release of these files, if they are such that every machine can hold them, and nothing else."""
    ordered = sorted(files, key=lambda file: str(file.path))
    for file in ordered:
        if wrong := _wrong(file):
            raise StoreError(f"{where}: {wrong}")
    if not ordered:
        raise StoreError(f"{where} has no models: build some with `sifigan-triton build`")
    if len(ordered) > MAX_FILES or sum(file.size for file in ordered) > MAX_BYTES:
        held = f"{len(ordered):,} files of {sum(file.size for file in ordered):,} bytes"
        raise StoreError(f"{where} has {held}, expected at most {MAX_FILES:,} of {MAX_BYTES:,}: is it a repository?")
    names = {file.path for file in ordered}
    for file in ordered:
        if above := next((str(up) for up in PurePosixPath(file.path).parents if str(up) in names), None):
            raise StoreError(f"{where}: {above} is a file, and a folder of {file.path}")
    return Release(tuple(ordered))


def _wrong(file: File) -> str | None:
    """Return what is wrong with an entry of a list."""
    path, size, sha256 = file.path, file.size, file.sha256
    parts = path.split("/") if isinstance(path, str) else []
    if not 2 <= len(parts) <= _MAX_PARTS or not all(_PART.fullmatch(part) for part in parts):
        return f"the path {str(path)[:80]!r} cannot be stored, expected MODEL/... of plain letters, none of them hidden"
    if type(size) is not int or not 0 <= size <= MAX_BYTES:
        return f"{path} has the size {str(size)[:40]}, expected 0 to {MAX_BYTES:,} bytes"
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        return f"{path} has the hash {str(sha256)[:80]!r}, expected a SHA-256 in hexadecimal"
    return None

"""Files that appear whole or not at all, their hashes, and strangers' files read within limits."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

MAX_LINKS = 40
"""Symbolic links that are followed, as many as Linux follows."""


MAX_ZIP_DIRECTORY = 2**20
"""Largest directory of a zip archive that is read, in bytes, some 10,000 files; Python makes ten times of it."""


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` when the block ends, and is dropped when the block raises.

    A symbolic link is followed and stays: the file that it leads to is replaced. A stream (`is_stream`) cannot be
    replaced: it gets all bytes when the block ends.

    Args:
        path: the file to write; missing parent folders are made.

    Yields:
        A seekable binary file, empty.

    Raises:
        OSError: if `path` is a folder, a socket or a disk, a folder cannot be made or the file cannot be written.

    """
    target = _followed(path)
    if is_stream(path):
        buffer = io.BytesIO()
        yield buffer
        # A duplicate of an open descriptor writes on where that one stands; opening its name anew would begin at 0.
        with open(os.dup(target) if isinstance(target, int) else target, "wb") as stream:  # noqa: PTH123
            stream.write(buffer.getbuffer())
        return
    assert isinstance(target, Path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("x+b") as file:
            yield file
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_stream(path: Path) -> bool:
    """Say whether `path` leads to a FIFO, a character device or an open descriptor, such as /dev/stdout or /dev/fd/3.

    Raises:
        OSError: if it leads to a folder, a socket or a disk, which nothing can be written to.

    """
    target = _followed(path)
    if isinstance(target, int):
        return True
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path}: is a folder, expected the name of a file to write, such as {path / 'out'}")
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        return True
    if not stat.S_ISREG(mode):
        raise OSError(f"{path}: is a socket or a disk, expected the name of a file to write")
    return False


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_at_most(path: Path, limit: int) -> bytes:
    """Return the bytes of a file or stream that may come from a stranger.

    Args:
        path: the file.
        limit: how many bytes it may have; no more are read.

    Raises:
        ValueError: if it has more; the message does not name the file.
        OSError: if it cannot be read.

    """
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"has more than {limit:,} bytes, expected at most that many")
    return data


@contextmanager
def bounded_zip(path: Path, methods: tuple[int, ...], limit: int) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive that may come from a stranger; what its directory says is checked before anything is unpacked.

    Python hands out no more bytes of an entry than the directory says.

    Args:
        path: the archive.
        methods: how entries may be packed, such as `zipfile.ZIP_STORED`.
        limit: how many bytes all entries may have, unpacked.

    Raises:
        zipfile.BadZipFile: if it is no such archive, names an entry twice, packs one otherwise or unpacks to more.
        OSError: if it cannot be read.

    """
    with _FrugalFile(path) as file, zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len({entry.filename for entry in entries}) < len(entries):
            raise zipfile.BadZipFile("names an entry twice")
        for entry in entries:
            if entry.compress_type not in methods or entry.flag_bits & 1:
                raise zipfile.BadZipFile(f"{entry.filename[:60]} is packed in a way that is not read, or encrypted")
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > limit:
            raise zipfile.BadZipFile(f"unpacks to {unpacked:,} bytes, expected at most {limit:,}")
        yield archive


class _FrugalFile(io.FileIO):
    """A file that no more is read from in one go than a zip archive's directory may have."""

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = os.fstat(self.fileno()).st_size - self.tell() if size is None or size < 0 else size
        if wanted > MAX_ZIP_DIRECTORY:
            raise zipfile.BadZipFile(f"has a directory of {wanted:,} bytes, expected at most {MAX_ZIP_DIRECTORY:,}")
        return super().read(size) or b""


def project_file(name: str) -> Path:
    """Return where a file or folder of the project is: beside the package in a checkout, inside it when installed.

    Args:
        name: its path in the project, such as "measurement_data/short.json" or "voices/demo".

    """
    package = Path(__file__).resolve().parent
    beside = package.parent / name
    return beside if beside.exists() else package / name


def _followed(path: Path) -> Path | int:
    """Follow symbolic links, to a file that need not exist or to the number of a descriptor of this process."""
    followed = path
    for _ in range(MAX_LINKS):
        folder = Path(os.path.realpath(followed.parent))
        if folder == Path(f"/proc/{os.getpid()}/fd") and followed.name.isdigit():
            return int(followed.name)
        followed = folder / followed.name
        if not followed.is_symlink():
            return followed
        followed = folder / followed.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))

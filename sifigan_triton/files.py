"""Files that appear whole or not at all, their hashes, and strangers' files read within limits."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import resource
import secrets
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

MAX_LINKS = 40
"""Symbolic links that are followed, as many as Linux follows."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says when a file does not fit: the disk is full, the user's quota or the limit of a file used up."""

MAX_ZIP_DIRECTORY = 2**20
"""Largest directory of a zip archive that is read, in bytes, some 10,000 files; Python makes ten times of it."""


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` when the block ends, and is dropped when the block raises.

    It stands in memory until then. A symbolic link is followed and stays: the file that it leads to is replaced. A
    stream (`is_stream`) cannot be replaced: it gets all bytes when the block ends.

    Args:
        path: the file to write; missing parent folders are made.

    Yields:
        A seekable binary file, empty.

    Raises:
        DiskFullError: if there is no room for it; what was there stays.
        OSError: if `path` is a folder, a socket or a disk, a folder cannot be made or the file cannot be written.

    """
    target = _followed(path)
    buffer = io.BytesIO()
    if is_stream(path):
        yield buffer
        # A duplicate of an open descriptor writes on where that one stands; opening its name anew would begin at 0.
        with (
            room_for(path, buffer.getbuffer().nbytes),
            open(os.dup(target) if isinstance(target, int) else target, "wb") as stream,  # noqa: PTH123
        ):
            stream.write(buffer.getbuffer())
        return
    assert isinstance(target, Path)
    target.parent.mkdir(parents=True, exist_ok=True)
    yield buffer
    temporary = hidden_beside(target)
    with room_for(path, buffer.getbuffer().nbytes), dropped_on_failure(temporary):
        with temporary.open("xb") as file:
            file.write(buffer.getbuffer())
        temporary.replace(target)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that appears as `path`, whole and on the disk, when the block ends, and replaces nothing.

    Of several processes that make it at a time, on whatever machines, one is the first; the others are told.

    Args:
        path: the file to write; missing parent folders are made.

    Yields:
        A seekable binary file, empty.

    Raises:
        FileExistsError: if there is such a file; it stays as it is.
        DiskFullError: if there is no room for it.
        OSError: if a folder cannot be made or the file cannot be written.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"{path.parent}: is no folder, expected one to write {path.name} to") from None
    buffer = io.BytesIO()
    yield buffer
    temporary = hidden_beside(path)
    with room_for(path, buffer.getbuffer().nbytes):
        try:
            with temporary.open("xb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())  # else a machine that fails may leave the name without the bytes
            path.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a file of a folder that is still private, such as a build's.

    Raises:
        DiskFullError: if there is no room for it; nothing is left of it.
        OSError: if it cannot be written.

    """
    with room_for(path, len(content)), dropped_on_failure(path):
        path.write_bytes(content)


def hidden_beside(target: Path) -> Path:
    """Return a name that nobody uses in the folder of a file; it tells which process it is of."""
    return target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


@contextmanager
def dropped_on_failure(path: Path) -> Iterator[None]:
    """Remove a file if the block that writes it raises."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class DiskFullError(OSError):
    """There is no room for a file; the message names it, what it needs, what is free and the fix."""


@contextmanager
def room_for(path: Path, needed: int) -> Iterator[None]:
    """Say what to do when a block that writes a file finds no room for it.

    Args:
        path: the file; what is free is looked up when the block has dropped what it wrote.
        needed: its bytes.

    Raises:
        DiskFullError: instead of the system's error, which names neither.

    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise DiskFullError(f"{path}: {needed:,} bytes do not fit: {_room(path, error.errno)}") from None


def _room(path: Path, number: int) -> str:
    """Say what room there is for a file, and how to get more."""
    if number == errno.EFBIG:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        most = "the file system allows none so large" if limit < 0 else f"a file may have {limit:,} (`ulimit -f`)"
        return f"{most}: raise the limit or write elsewhere"
    reason = "the quota is used up" if number == errno.EDQUOT else "the disk is full"
    if not path.is_char_device():
        free = os.statvfs(Path(os.path.realpath(path)).parent)
        reason += f", {free.f_bavail * free.f_frsize:,} are free"
        if free.f_files and not free.f_favail:
            reason += " but no more files"
    return f"{reason}: free some space or write to another disk"


def mount_points() -> set[Path]:
    """Return every place where this process sees something mounted: bind mounts too, unlike `os.path.ismount`."""
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    places = [re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), line.split(b" ")[4]) for line in lines]
    return {Path(os.fsdecode(place)) for place in places}


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

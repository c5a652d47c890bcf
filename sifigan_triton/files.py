"""Files that appear whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` when the block ends, and is dropped when the block raises.

    Args:
        path: the file to write; missing parent folders are made.

    Yields:
        A seekable binary file in the folder of `path`, empty.

    Raises:
        OSError: if the folder cannot be made or the file cannot be written.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("x+b") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def project_file(name: str) -> Path:
    """Return where a file or folder of the project is: beside the package in a checkout, inside it when installed.

    Args:
        name: its path in the project, such as "measurement_data/short.json" or "voices/demo".

    """
    package = Path(__file__).resolve().parent
    beside = package.parent / name
    return beside if beside.exists() else package / name

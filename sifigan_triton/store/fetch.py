"""Fetch a release into a folder of this machine: every file verified, the folder there as a whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from sifigan_triton.store.address import RELEASE_ID, Address, StoreError
from sifigan_triton.store.bucket import Bucket
from sifigan_triton.store.publish import current_release, load_list
from sifigan_triton.store.release import RELEASE_FILE, File, Release, file_sha256, read_release, release_key

logger = logging.getLogger(__name__)

CACHE = "SIFIGAN_CACHE"
"""Variable that names the folder for releases."""
KEPT = 3
"""Releases that stay in the folder: the one that was asked for and those that were asked for before."""
_AT_ONCE = 4
_PART = ".part"


def cache_folder() -> Path:
    """Return where releases are kept: as the variable says, else in the folder for temporary files."""
    return Path(os.environ.get(CACHE) or Path(tempfile.gettempdir()) / f"sifigan-releases-{os.getuid()}")


def fetch(address: Address, cache: Path) -> Path:
    """Return a folder with a release, fetched if it is not there; what was there is verified again.

    Args:
        address: the current release, or the one that is named.
        cache: the folder for releases, of one server; made if absent. Files that another release in it has are not
            fetched again, and what a broken off attempt has fetched is kept.

    Raises:
        StoreError: if the store fails, the release is not whole, or a file of it is not what its list says.
        OSError: if the folder cannot be written.

    """
    bucket = Bucket(Address(address.bucket, address.prefix))
    name = address.release or current_release(bucket)
    with _locked(cache):
        target = cache / name
        release = _known(target, name) or load_list(bucket, name)
        part = target if target.is_dir() else cache / f".{name}{_PART}"
        _fetch(bucket, release, part, cache)
        if part != target:
            part.rename(target)
        os.utime(target)
        _tidy(cache, keep=name)
    return target


def _fetch(bucket: Bucket, release: Release, folder: Path, cache: Path) -> None:
    """Bring all files of a release into a folder, and its list last."""
    folder.mkdir(mode=0o700, exist_ok=True)
    missing = [file for file in release.files if not _is(folder / file.path, file)]
    if missing:
        needed, free = sum(file.size for file in missing), shutil.disk_usage(folder).free
        if needed > free:
            raise StoreError(
                f"{folder}: release {release.id} needs {needed:,} bytes, {free:,} are free: free some space, or name "
                f"another folder with {CACHE}"
            )
        logger.info("fetching %s: %d files, %s bytes", release.id, len(missing), f"{needed:,}")
        others = _others(cache, folder)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda file: _bring(bucket, release.id, file, folder, others), missing))
    if not (folder / RELEASE_FILE).is_file():
        (folder / RELEASE_FILE).write_bytes(release.to_json())


def _bring(bucket: Bucket, release: str, file: File, folder: Path, others: dict[str, Path]) -> None:
    """Bring one file, from a release that has it or from the store; it appears when it is verified."""
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:200]}{_PART}")
    temporary.unlink(missing_ok=True)
    other = others.get(file.sha256)
    try:
        if other is not None and _is(other, file):
            temporary.hardlink_to(other)
        else:
            _download(bucket, release_key(release, file.path), file, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _download(bucket: Bucket, key: str, file: File, target: Path) -> None:
    """Write an object into a file, no more of it than it shall have.

    Raises:
        StoreError: if it has another size or other bytes.

    """
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as output:
        for block in bucket.stream(key):
            size += len(block)
            if size > file.size:
                break
            digest.update(block)
            output.write(block)
        output.flush()
        os.fsync(output.fileno())
    if size != file.size:
        got = f"more than {file.size:,}" if size > file.size else f"{size:,}"
        raise StoreError(f"{bucket.where(key)} has {got} bytes, expected {file.size:,}: publish the repository again")
    if digest.hexdigest() != file.sha256:
        raise StoreError(
            f"{bucket.where(key)} has the SHA-256 {digest.hexdigest()}, expected {file.sha256}: publish the repository "
            "again"
        )


def _known(folder: Path, name: str) -> Release | None:
    """Return the list of a release that was fetched before."""
    try:
        return read_release((folder / RELEASE_FILE).read_bytes(), str(folder / RELEASE_FILE), name)
    except (OSError, StoreError):
        return None


def _is(path: Path, file: File) -> bool:
    """Tell whether a file is there as it shall be."""
    try:
        return not path.is_symlink() and path.stat().st_size == file.size and file_sha256(path) == file.sha256
    except OSError:
        return False


def _others(cache: Path, folder: Path) -> dict[str, Path]:
    """Return where files of other releases are, by their hashes."""
    found = {}
    for other in cache.iterdir():
        if other != folder and RELEASE_ID.fullmatch(other.name) and (release := _known(other, other.name)):
            found |= {file.sha256: other / file.path for file in release.files}
    return found


def _tidy(cache: Path, keep: str) -> None:
    """Remove what was broken off, and all releases but the last ones that were asked for."""
    releases = sorted((path for path in cache.iterdir() if RELEASE_ID.fullmatch(path.name)), key=_asked_for)
    for path in [*cache.glob(f".*{_PART}"), *releases[:-KEPT]]:
        if path.name != keep:
            shutil.rmtree(path, ignore_errors=True)


def _asked_for(path: Path) -> float:
    return path.stat().st_mtime


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Keep others from the folder, which has to be ours: who may write there says what is served.

    Raises:
        StoreError: if it belongs to somebody else.

    """
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    if cache.stat().st_uid != os.getuid():
        raise StoreError(
            f"{cache} belongs to user {cache.stat().st_uid}, expected {os.getuid()}: name another with {CACHE}"
        )
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

"""Publish a model repository: upload, verify, and only then switch; roll back to a release that is whole."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sifigan_triton.repository.servable import find_servable
from sifigan_triton.store.address import RELEASE_ID, Address, StoreError
from sifigan_triton.store.bucket import AbsentError, Bucket, ChangedError
from sifigan_triton.store.release import (
    CURRENT,
    MAX_CURRENT_BYTES,
    MAX_LIST_BYTES,
    RELEASE_FILE,
    RELEASES,
    File,
    Release,
    read_current,
    read_release,
    release_key,
    scan,
)

logger = logging.getLogger(__name__)

_AT_ONCE = 4
"""Files that are on their way at once."""


@dataclass(frozen=True)
class Published:
    """A release in the store."""

    release: Release
    uploaded: int
    """Files that were not there yet."""
    switched: bool


@dataclass(frozen=True)
class Listed:
    """What the store has under one release's name."""

    release: str
    files: int
    size: int
    published: datetime | None
    """When its list was written, which makes it whole; None: it is not."""


def publish(repository: Path, address: Address, *, switch: bool = True) -> Published:
    """Publish a model repository that can be served; what a broken off attempt has uploaded is kept.

    Args:
        repository: the folder, which `build` wrote.
        address: where to; no release is named.
        switch: whether servers shall take it from now on.

    Raises:
        ServableError: if it cannot be served here.
        StoreError: if the store fails, or the repository was changed meanwhile. What is served did not change.

    """
    if address.release is not None:
        raise StoreError(f"{address}: a release gets its name from what is in it, leave out @{address.release}")
    find_servable(repository)
    release, bucket = scan(repository), Bucket(address)
    there = {stored.name: stored.size for stored in bucket.objects(release_key(release.id))}
    missing = [file for file in release.files if there.get(release_key(release.id, file.path)) != file.size]
    logger.info(
        "release %s: %d files, %s bytes, %d to upload",
        release.id,
        len(release.files),
        f"{release.size:,}",
        len(missing),
    )

    def upload(file: File) -> None:
        bucket.write(release_key(release.id, file.path), repository / file.path)

    def verify(file: File) -> None:
        if _held(bucket, release.id, file):
            return
        upload(file)  # one that a broken store or a stranger left there
        if not _held(bucket, release.id, file):
            raise StoreError(
                f"{bucket.where(release_key(release.id, file.path))} is not {repository / file.path} as it was read: "
                "the file was changed meanwhile, or the store is broken; publish again"
            )

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for work, files in ((upload, missing), (verify, release.files)):
            list(pool.map(work, files))  # raises what one of them raises
    bucket.write(release_key(release.id, RELEASE_FILE), release.to_json())
    switched = switch and _switch(bucket, release.id)
    return Published(release, len(missing), switched)


def roll_back(address: Address) -> str:
    """Make another release the current one, if it is whole: the one that is named, or that before the current one.

    Returns:
        Its id.

    Raises:
        StoreError: if there is none, a file of it is missing, or the store fails. What is served did not change.

    """
    bucket = Bucket(Address(address.bucket, address.prefix))
    release = address.release
    if release is None:
        current, _ = _current(bucket)
        release = current["previous"]
        if release is None:
            raise StoreError(
                f"{bucket.where(CURRENT)} names no release before {current['release']}: name one, ADDRESS@RELEASE"
            )
    files = load_list(bucket, release).files
    there = {stored.name: stored.size for stored in bucket.objects(release_key(release))}
    for file in files:
        key = release_key(release, file.path)
        if there.get(key) != file.size:
            got = f"has {there[key]:,} bytes" if key in there else "is missing"
            raise StoreError(f"{bucket.where(key)} {got}, expected {file.size:,} bytes: publish the repository again")
    _switch(bucket, release)
    return release


def list_releases(address: Address) -> tuple[list[Listed], Mapping[str, Any] | None]:
    """Return what the store has, the newest first, and what is said of the current release.

    Raises:
        StoreError: if the store fails.

    """
    bucket = Bucket(address)
    found: dict[str, list[Any]] = {}
    for stored in bucket.objects(f"{RELEASES}/"):
        release, _, path = stored.name.removeprefix(f"{RELEASES}/").partition("/")
        if RELEASE_ID.fullmatch(release):
            row = found.setdefault(release, [0, 0, None])
            if path == RELEASE_FILE:
                row[2] = stored.modified
            else:
                row[0] += 1
                row[1] += stored.size
    rows = [Listed(release, *row) for release, row in found.items()]
    rows.sort(key=lambda row: row.published or datetime.min.replace(tzinfo=timezone.utc), reverse=True)  # noqa: UP017 - Python 3.10
    try:
        return rows, _current(bucket)[0]
    except AbsentError:
        return rows, None


def load_list(bucket: Bucket, release: str) -> Release:
    """Read the list of a release.

    Raises:
        StoreError: if it was not published whole, or its list is not what it was.

    """
    key = release_key(release, RELEASE_FILE)
    try:
        content, _ = bucket.read(key, MAX_LIST_BYTES)
    except AbsentError:
        raise StoreError(
            f"there is no {bucket.where(key)}: the release was not published, or not to its end; publish it again, or "
            f"name another one (`sifigan-triton releases {bucket.address}` lists them)"
        ) from None
    return read_release(content, bucket.where(key), release)


def current_release(bucket: Bucket) -> str:
    """Return which release is served.

    Raises:
        StoreError: if nothing was published there, or it cannot be read.

    """
    try:
        return str(_current(bucket)[0]["release"])
    except AbsentError:
        raise StoreError(
            f"there is no {bucket.where(CURRENT)}: publish a repository there with `sifigan-triton publish "
            f"MODEL_REPOSITORY {bucket.address}`"
        ) from None


def _current(bucket: Bucket) -> tuple[Mapping[str, Any], str | None]:
    content, tag = bucket.read(CURRENT, MAX_CURRENT_BYTES)
    return read_current(content, bucket.where(CURRENT)), tag


def _switch(bucket: Bucket, release: str) -> bool:
    """Make a release the current one; tell whether it was not yet."""
    before, tag = None, None
    try:
        current, tag = _current(bucket)
        before = current["release"]
    except AbsentError:
        pass
    except StoreError as error:
        logger.warning("%s; it is written anew", error)
        tag = bucket.read(CURRENT, 2**30)[1]
    if before == release:
        return False
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")  # noqa: UP017 - Python 3.10
    said = json.dumps({"release": release, "when": when, "previous": before}).encode() + b"\n"
    try:
        bucket.replace(CURRENT, said, tag)
    except ChangedError:
        if bucket.read(CURRENT, MAX_CURRENT_BYTES)[0] != said:  # else it was our own, sent twice
            raise StoreError(
                f"{bucket.where(CURRENT)} was switched by somebody else meanwhile. Release {release} is whole: "
                f"`sifigan-triton rollback {bucket.address}@{release}` switches to it"
            ) from None
    return True


def _held(bucket: Bucket, release: str, file: File) -> bool:
    """Tell whether the store holds a file as it shall be."""
    digest = hashlib.sha256()
    try:
        for block in bucket.stream(release_key(release, file.path)):
            digest.update(block)
    except AbsentError:
        return False
    return digest.hexdigest() == file.sha256

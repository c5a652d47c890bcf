"""A bucket of an object store that speaks S3, through `obstore`: the only module that knows that package.

Credentials come from the usual variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION,
AWS_ENDPOINT_URL_S3, AWS_CA_BUNDLE), or from the machine: a Kubernetes service account, ECS, EC2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from sifigan_triton.store.address import Address, StoreError

if TYPE_CHECKING:
    from obstore.store import S3Store

BLOCK = 2**20
"""Bytes of a block that is read."""
_MISSING = "the package obstore is missing: pip install '.[store]' in the project's folder"
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
_RETRIES, _RETRY_S, _CONNECT_S, _READ_S, _WHOLE_S = 5, 60, 10, 60, 3600
_LONGEST = 300


class ChangedError(StoreError):
    """An object is not what it was when it was read: somebody else has written it."""


class AbsentError(StoreError):
    """There is no such object."""


class Stored(NamedTuple):
    """What a bucket says of an object."""

    name: str
    """Below the address."""
    size: int
    modified: datetime


class Bucket:
    """The objects below an address; every failure is a `StoreError` that names the object."""

    def __init__(self, address: Address) -> None:
        """Describe it; nothing is asked yet.

        Raises:
            StoreError: if the package for it is missing, or what the environment says cannot be used.

        """
        self.address = address
        try:
            from obstore import exceptions, store
        except ModuleNotFoundError:
            raise StoreError(_MISSING) from None
        self._errors = exceptions
        endpoint = next((value for name in _ENDPOINTS if (value := os.environ.get(name))), "")
        options: dict[str, Any] = {
            "connect_timeout": timedelta(seconds=_CONNECT_S),
            "read_timeout": timedelta(seconds=_READ_S),
            "timeout": timedelta(seconds=_WHOLE_S),
        }
        if endpoint.startswith("http://"):
            options["allow_http"] = True
        try:
            if bundle := os.environ.get("AWS_CA_BUNDLE"):
                options["root_certificate"] = Path(bundle).read_bytes()
            self._store: S3Store = store.S3Store(
                address.bucket,
                client_options=options,  # type: ignore[arg-type]  # a TypedDict of its own
                retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_S)},
                **({"endpoint": endpoint} if endpoint else {}),  # type: ignore[arg-type]
            )
        except (exceptions.BaseError, OSError, ValueError) as error:
            self._raise(error, "")

    def stream(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of an object, block by block."""
        import obstore

        try:
            for block in obstore.get(self._store, self.address.key(name)).stream(BLOCK):
                yield bytes(block)
        except self._failures as error:
            self._raise(error, name)

    def read(self, name: str, limit: int) -> tuple[bytes, str | None]:
        """Return the bytes of a small object and the tag of this version, which `write` compares.

        Raises:
            AbsentError: if it is not there.
            StoreError: if it has more than `limit` bytes, or cannot be read.

        """
        import obstore

        try:
            found = obstore.get(self._store, self.address.key(name))
            if found.meta["size"] > limit:
                size = found.meta["size"]
                raise StoreError(f"{self.where(name)} has {size:,} bytes, expected at most {limit:,}")
            return bytes(found.bytes())[: limit + 1], found.meta["e_tag"]
        except self._failures as error:
            self._raise(error, name)

    def write(self, name: str, content: bytes | Path) -> None:
        """Write an object, which appears whole or not at all."""
        import obstore

        try:
            obstore.put(self._store, self.address.key(name), content)
        except self._failures as error:
            self._raise(error, name)

    def replace(self, name: str, content: bytes, tag: str | None) -> None:
        """Write an object if it is still the version with this tag; None: if there is still none.

        Raises:
            ChangedError: if somebody else has written it meanwhile.

        """
        import obstore

        try:
            obstore.put(self._store, self.address.key(name), content, mode={"e_tag": tag} if tag else "create")
        except (self._errors.PreconditionError, self._errors.AlreadyExistsError):
            raise ChangedError(f"{self.where(name)} was written by somebody else meanwhile") from None
        except self._failures as error:
            self._raise(error, name)

    def objects(self, folder: str) -> Iterator[Stored]:
        """Yield what is in a folder and its folders."""
        import obstore

        start = self.address.key(folder)
        try:
            for page in obstore.list(self._store, start):
                for each in page:
                    name = each["path"][len(self.address.key("")) :]
                    yield Stored(name, each["size"], each["last_modified"])
        except self._failures as error:
            self._raise(error, folder)

    def remove(self, names: list[str]) -> None:
        """Remove objects."""
        import obstore

        try:
            obstore.delete(self._store, [self.address.key(name) for name in names])
        except self._failures as error:
            self._raise(error, names[0])

    def where(self, name: str) -> str:
        """Return how an object is called in messages."""
        return f"s3://{self.address.bucket}/{self.address.key(name)}"

    @property
    def _failures(self) -> tuple[type[BaseException], ...]:
        return (self._errors.BaseError, OSError, ValueError)

    def _raise(self, error: BaseException, name: str) -> NoReturn:
        """Raise what an error of the package means, without what its texts may hold of the environment."""
        known, where, text = self._errors, self.where(name), str(error)
        if isinstance(error, (known.NotFoundError, FileNotFoundError)):
            if "NoSuchBucket" in text:
                raise StoreError(f"there is no bucket {self.address.bucket}: make it, or name another") from None
            raise AbsentError(f"there is no {where}") from None
        denied = (known.PermissionDeniedError, known.UnauthenticatedError)
        if isinstance(error, denied) or "InvalidAccessKeyId" in text or "SignatureDoesNotMatch" in text:
            raise StoreError(f"{where}: the store refuses these credentials: {_CREDENTIALS}") from None
        if "169.254.169.254" in text or "redential" in text:
            raise StoreError(f"{where}: there are no credentials: {_CREDENTIALS}") from None
        raise StoreError(f"{where}: the store does not answer as it should: {_scrub(text)}") from None


_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION (a profile: `eval $(aws configure export-credentials "
    "--format env)`), AWS_ENDPOINT_URL_S3 for a store that is not Amazon's"
)


def _scrub(text: str) -> str:
    """Return the beginning of a reason without secrets: those of the environment, and users of addresses."""
    for name in _SECRETS:
        if value := os.environ.get(name):
            text = text.replace(value, "***")
    text = re.sub(r"//[^/@\s]*@", "//***@", text)
    text = re.sub(r"(?i)(X-Amz-[A-Za-z-]+|Signature|Credential|Authorization)(=|: ?)[^&\s,]+", r"\1\2***", text)
    code, status = re.search(r"<Code>(\w+)</Code>", text), re.search(r"status code: (\d{3}[^:<\n]*)", text)
    if status:
        return f"{status[1].strip()} {code[1] if code else ''}".strip()
    return " ".join(text.partition("\n\nDebug source")[0].split())[:_LONGEST]

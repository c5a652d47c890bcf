"""Where releases are: `s3://bucket/prefix`, and `s3://bucket/prefix@RELEASE` for one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEME = "s3://"
RELEASE_ID = re.compile(r"[0-9a-f]{16}")
"""How a release is called: by the hash of what is in it."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_EXPECTED = "expected s3://bucket/prefix, or s3://bucket/prefix@RELEASE with the 16 digits of a release"


class StoreError(RuntimeError):
    """The object store does not do or hold what it should; the message says what and what to do."""


@dataclass(frozen=True)
class Address:
    """A folder of releases in a bucket."""

    bucket: str
    prefix: str
    """Without slashes at its ends; may be empty."""
    release: str | None = None
    """The one that is meant; None: the current one."""

    def __str__(self) -> str:
        """Return it as it is written."""
        at = "" if self.release is None else f"@{self.release}"
        return f"{SCHEME}{self.bucket}{'/' if self.prefix else ''}{self.prefix}{at}"

    def key(self, name: str) -> str:
        """Return the name in the bucket of something in this folder."""
        return f"{self.prefix}/{name}" if self.prefix else name


def is_address(text: str) -> bool:
    """Tell whether something means an object store, not a folder."""
    return "://" in text


def read_address(text: str) -> Address:
    """Read an address.

    Raises:
        ValueError: if it is none; credentials in it are not repeated.

    """
    rest, at, release = text.removeprefix(SCHEME).partition("@")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    if at and not RELEASE_ID.fullmatch(release):
        raise ValueError(f"the address {_shown(text)!r} names no release: {_EXPECTED}")
    fine = text.startswith(SCHEME) and _BUCKET.fullmatch(bucket) and (not prefix or _PREFIX.fullmatch(prefix))
    if not fine or {".", ".."} & set(prefix.split("/")):
        raise ValueError(f"the address is {_shown(text)!r}, {_EXPECTED}")
    return Address(bucket, prefix, release or None)


def _shown(text: str) -> str:
    """Return an address for a message, without a user and a password that stand in it."""
    return re.sub(r"//[^/]*@", "//...@", text)[:200]

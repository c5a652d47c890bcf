"""The values of options: each function reads a word of the command line, or says what was expected."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeVar

_Number = TypeVar("_Number", int, float)


def output(text: str) -> Path:
    """Read where to write; - is standard output."""
    return Path("/dev/stdout" if text == "-" else text)


def seed(text: str) -> int:
    """Read a seed, as the server takes it."""
    return _within(text, int, 0, 2**63 - 1)


def channels(text: str) -> int:
    """Read the channels of a voice."""
    return _within(text, int, 16, 4096)


def seconds(text: str) -> float:
    """Read a time limit in seconds."""
    return _within(text, float, 0.001, 1e6)


def positive(text: str) -> float:
    """Read a quantity above 0."""
    return _within(text, float, 1e-9, 1e12)


def share(text: str) -> float:
    """Read a share of all."""
    return _within(text, float, 0.0, 1.0)


def count(text: str) -> int:
    """Read how many, at least one."""
    return _within(text, int, 1, 10_000_000)


def in_flight(text: str) -> int:
    """Read how many calls are worked on at once."""
    return _within(text, int, 1, 10_000)


def request_mb(text: str) -> int:
    """Read the size of the largest request, in MiB."""
    return _within(text, int, 1, 256)


def grace(text: str) -> float:
    """Read how long the calls in flight have, in seconds."""
    return _within(text, float, 0.0, 86400.0)


def _within(text: str, kind: type[_Number], low: float, high: float) -> _Number:
    """Read a number from `low` to `high`; NaN is none."""
    try:
        value = kind(text)
    except ValueError:
        value = kind(-1)
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number from {low:g} to {high:g}")
    return value


def repository(text: str) -> Path | str:
    """Read a folder of models, or the address of releases in an object store, which stays a text."""
    return text if "://" in text else Path(text)

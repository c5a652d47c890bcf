"""The server's page of metrics, as tests read it."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 20.0
_SAMPLE = re.compile(r"^(sifigan_\w+)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Value = TypeVar("Value")
Sample = tuple[str, frozenset[tuple[str, str]]]
"""A metric's name and labels."""


def read_samples(metrics_url: str) -> dict[Sample, float]:
    """Return every value of the project's own metrics."""
    with urllib.request.urlopen(f"http://{metrics_url}/metrics") as answer:
        page = answer.read().decode()
    return {(name, frozenset(_LABEL.findall(labels))): float(value) for name, labels, value in _SAMPLE.findall(page)}


def total(metrics_url: str, name: str, **labels: str) -> float:
    """Return the sum of a metric's values that have these labels."""
    samples = read_samples(metrics_url).items()
    return sum(value for (found, all_), value in samples if found == name and labels.items() <= dict(all_).items())


def soon(read: Callable[[], Value], expected: Value) -> Value:
    """Return what is read when it is as expected, or what it still is after long waiting.

    Models write on the page a moment after they have answered.
    """
    give_up = time.monotonic() + PATIENCE_S
    while (value := read()) != expected and time.monotonic() < give_up:
        time.sleep(0.02)
    return value

"""The machine that figures come from."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch


def describe_machine(packages: Sequence[str] = ("torch",)) -> dict[str, str]:
    """Return what a figure depends on, by name: date, GPU and driver if there is one, processor, versions.

    Args:
        packages: packages whose versions matter; those that are not installed are left out.

    """
    facts = {"date": f"{datetime.now(UTC):%Y-%m-%d}"}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts["GPU"] = f"{properties.name} ({properties.major}.{properties.minor})"
        facts["CUDA"] = str(torch.version.cuda)
        driver = Path("/proc/driver/nvidia/version")
        if driver.exists():
            facts["driver"] = driver.read_text(encoding="utf-8").splitlines()[0].split("  ")[1].strip()
    facts["CPU"] = f"{len(os.sched_getaffinity(0))} cores ({_processor()})"
    facts["Python"] = platform.python_version()
    for package in packages:
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return facts


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

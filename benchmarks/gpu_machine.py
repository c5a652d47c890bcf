"""The machine that figures come from."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch


def describe_machine(device: str) -> dict[str, str]:
    """Return what a figure depends on, by name: processor or GPU, driver, versions, date."""
    facts = {"date": f"{datetime.now(UTC):%Y-%m-%d}"}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts["GPU"] = f"{properties.name} ({properties.major}.{properties.minor})"
        facts["CUDA"] = str(torch.version.cuda)
        driver = Path("/proc/driver/nvidia/version")
        if driver.exists():
            facts["driver"] = driver.read_text(encoding="utf-8").splitlines()[0].split("  ")[1].strip()
    facts["CPU"] = f"{_processor()}, {os.cpu_count()} cores"
    facts["Python"] = platform.python_version()
    facts["torch"] = str(torch.__version__)
    return facts


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

"""The machine that figures come from, and what a server's processes use of it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

PACKAGES = ("torch", "onnxruntime", "openvino", "nvidia-pytriton", "tritonclient")
"""Packages whose versions matter."""
PROC = Path("/proc")


def describe_machine() -> dict[str, str]:
    """Return what a figure depends on, by name: date, GPU and driver if there is one, processor, installed versions."""
    facts = {"date": f"{datetime.now(UTC):%Y-%m-%d}"}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts["GPU"] = f"{properties.name} ({properties.major}.{properties.minor})"
        facts["CUDA"] = str(torch.version.cuda)
        driver = PROC / "driver/nvidia/version"
        if driver.exists():
            facts["driver"] = driver.read_text(encoding="utf-8").splitlines()[0].split("  ")[1].strip()
    facts["CPU"] = f"{len(os.sched_getaffinity(0))} cores ({_processor()})"
    facts["Python"] = platform.python_version()
    for package in PACKAGES:
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return facts


def _processor() -> str:
    for line in (PROC / "cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


class ProcessGroup:
    """The processes of one group: a Triton server and the processes of its Python models."""

    def __init__(self, group: int) -> None:
        """Watch a process group by its id."""
        self._group = group

    def cpu_s(self) -> float:
        """Return the seconds of CPU time that its living processes have used, over all cores."""
        ticks = 0
        for pid in self._members():
            fields = _stat(pid)
            ticks += int(fields[11]) + int(fields[12]) if fields else 0  # utime, stime
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> int:
        """Return its memory in bytes: pages that several processes share count once."""
        total = 0
        for pid in self._members():
            try:
                text = (PROC / pid / "smaps_rollup").read_text(encoding="ascii")
            except OSError:
                continue  # it has ended
            total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0) * 1024
        return total

    def _members(self) -> list[str]:
        stats = {path.name: _stat(path.name) for path in PROC.glob("[0-9]*")}
        return [pid for pid, fields in stats.items() if fields and int(fields[2]) == self._group]


def _stat(pid: str) -> list[str]:
    """Return the fields of a process behind its name, the state first; none if it has ended."""
    try:
        return (PROC / pid / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []

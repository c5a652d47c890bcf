"""What a server's processes use of the machine, read from Linux's /proc."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


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

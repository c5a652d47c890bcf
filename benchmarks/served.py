"""The server under test: started as a user starts it, and watched."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ADDRESSES = re.compile(r"HTTP (\S+:\d+), gRPC (\S+:\d+), metrics (\S+:\d+)")
START_S = 180.0


class Served:
    """`sifigan-triton serve` in a process of its own."""

    def __init__(self, repository: Path, folder: Path, *options: str, within: Sequence[str] = ()) -> None:
        """Describe it, with further options and a command that runs it; what it says goes to files in `folder`."""
        self._repository, self._folder, self._options, self._within = repository, folder, options, tuple(within)
        self.http_url = self.grpc_url = self.metrics_url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> tuple[str, str]:
        """Start it and return its HTTP and gRPC address.

        Raises:
            RuntimeError: if it does not say that it serves.

        """
        ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics")]
        log = self._folder / "serve.log"
        command = [
            *self._within,
            sys.executable,
            "-m",
            "sifigan_triton",
            "serve",
            "--model-repository",
            str(self._repository),
        ]
        with log.open("ab") as output:
            before = output.tell()
            self._process = subprocess.Popen(
                [*command, *ports, "--logs", str(self._folder / "logs"), *self._options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            text = log.read_bytes()[before:].decode()
            if found := ADDRESSES.search(text):
                self.http_url, self.grpc_url, self.metrics_url = found[1], found[2], found[3]
                return found[1], found[2]
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"the server did not start:\n{log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End it politely, then for good."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def cpu_s(self) -> float:
        """Return the processor time of all its processes, in seconds."""
        ticks = 0
        for pid in processes(self.pid):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    @property
    def said(self) -> str:
        """What it has printed."""
        return (self._folder / "serve.log").read_text()

    @property
    def pid(self) -> int | None:
        """Its process id, None when it does not run."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid


def processes(root: int | None) -> dict[int, str]:
    """Return the processes below one, with their names."""
    if root is None:
        return {}
    parents: dict[int, tuple[int, str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            before, _, after = path.read_text().rpartition(")")
        except OSError:
            continue  # it has ended
        if after.split()[0] != "Z":
            parents[int(path.parent.name)] = int(after.split()[1]), before.partition("(")[2]
    found, grown = {root}, True
    while grown:
        grown = bool(more := {pid for pid, (parent, _) in parents.items() if parent in found} - found)
        found |= more
    return {pid: parents[pid][1] for pid in sorted(found) if pid in parents}


def holdings(root: int | None) -> dict[str, float]:
    """Return what the processes below one hold: PSS and files in /dev/shm in MB, open descriptors, threads."""
    pss, shared, descriptors, threads = 0, {}, 0, 0
    for pid in processes(root):
        try:
            descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
            threads += len(list(Path(f"/proc/{pid}/task").iterdir()))
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            pss += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                if " /dev/shm/" in line:
                    name = line.split(maxsplit=5)[5]
                    shared[name] = Path(name).stat().st_blocks * 512
        except OSError:
            continue
    sizes = {"PSS MB": pss / 1e3, "/dev/shm MB": sum(shared.values()) / 1e6}
    return sizes | {"descriptors": float(descriptors), "threads": float(threads)}

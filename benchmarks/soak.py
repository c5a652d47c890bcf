"""Memory of the server after 200 and after 2,000 requests of mixed lengths, with a small voice and a small window.

    python -m benchmarks.soak [--requests 2000] [--clients 4] [--longest 600]

Each request has a length and a seed of its own, asks for `waveform` or `pcm16`, over HTTP or gRPC; one in twenty is
refused. Counted are the server and all its model processes: PSS (what they share is counted once), RSS, and the files
in /dev/shm, which PSS and RSS hold as well as far as they were touched. Exits with 1 if PSS, RSS or /dev/shm has grown
by more than 5 % since request 200.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import local

import numpy as np

from benchmarks.small_repository import F0_FLOOR, build_small_repository, request_of
from sifigan_triton.client import SifiganClient, SynthesisError
from sifigan_triton.server.triton_server import TritonServer

FIRST = 200
"""Requests after which everything should have its size."""
ALLOWED = 0.05


@dataclass(frozen=True)
class Memory:
    """Memory of a server in MB."""

    pss: float
    rss: float
    shm: float

    @classmethod
    def of(cls, server: TritonServer) -> Memory:
        """Add up the processes of a server's group and its files in /dev/shm."""
        processes = [path for path in Path("/proc").glob("[0-9]*") if _group(int(path.name)) == server.pid]
        maps = [path.joinpath("smaps_rollup").read_text() for path in processes]
        pss, rss = (sum(int(line.split()[1]) for line in _lines(maps, f"{key}:")) / 1e3 for key in ("Pss", "Rss"))
        files = Path("/dev/shm").glob(f"{server.shm_prefix}*")
        return cls(pss, rss, sum(file.stat().st_blocks * 512 for file in files) / 1e6)


def _group(process: int) -> int | None:
    """Return the group of a process; None if it has ended."""
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return None


def _lines(texts: Iterable[str], start: str) -> list[str]:
    return [line for text in texts for line in text.splitlines() if line.startswith(start)]


class Load:
    """Requests by number: what each of them is does not depend on the others."""

    def __init__(self, server: TritonServer, longest: int) -> None:
        """Remember where to send them."""
        self._urls = (server.http_url, f"grpc://{server.grpc_url}")
        self._longest = request_of(longest)
        self._thread = local()
        self._clients: list[SifiganClient] = []

    def send(self, number: int) -> int:
        """Send one request and return its length in frames."""
        random = np.random.default_rng(number)
        frames = int(random.integers(1, self._longest.f0.size + 1))
        request = self._longest.first(frames)
        f0 = request.f0 if number % 20 else np.full(frames, F0_FLOOR / 2.0, np.float32)
        if not hasattr(self._thread, "clients"):
            self._thread.clients = [SifiganClient(url) for url in self._urls]
            self._clients += self._thread.clients
        client: SifiganClient = self._thread.clients[number // 2 % 2]
        synthesize = client.synthesize if number % 2 else client.synthesize_pcm16
        try:
            assert synthesize(f0, request.mcep, request.bap, seed=number).size == frames * 120
        except SynthesisError:
            assert number % 20 == 0
        return frames

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--longest", type=int, default=600, help="frames of the longest request")
    args = parser.parse_args()
    print("| requests | frames | seconds | PSS MB | RSS MB | /dev/shm MB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        repository = build_small_repository(Path(folder))
        with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, models=("sifigan",)) as server:
            seen = soak(server, args.requests, args.clients, args.longest)
    growth = {key: getattr(seen[-1], key) / getattr(seen[1], key) - 1.0 for key in ("pss", "rss", "shm")}
    print(f"\nsince request {FIRST}: " + ", ".join(f"{key} {value:+.1%}" for key, value in growth.items()))
    if max(growth.values()) > ALLOWED:
        sys.exit(f"the server's memory has grown by more than {ALLOWED:.0%}")


def soak(server: TritonServer, requests: int, clients: int, longest: int) -> list[Memory]:
    """Send the requests; print and return the memory before them, after the first 200, half way, and behind them."""
    load, started, frames, seen = Load(server, longest), time.perf_counter(), 0, []
    marks = [0, FIRST, requests // 2, requests]
    with ThreadPoolExecutor(clients) as pool:
        for sent, stop in zip([0, *marks], marks, strict=False):
            frames += sum(pool.map(load.send, range(sent, stop)))
            memory = Memory.of(server)
            seen.append(memory)
            sizes = f"{memory.pss:.1f} | {memory.rss:.1f} | {memory.shm:.1f}"
            print(f"| {stop:,} | {frames:,} | {time.perf_counter() - started:.0f} | {sizes} |", flush=True)
    load.close()
    return seen


if __name__ == "__main__":
    main()

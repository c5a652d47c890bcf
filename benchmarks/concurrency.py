"""Table: what requests of mixed lengths wait for each other, with one and with two processes of a CPU engine.

    python -m benchmarks.concurrency [--real] [--seconds 12] [--load 0.6]

Ensemble with a small voice and windows of 64 frames. The engine is a stand-in that holds "the processor" for 4 ms a
window, one window at a time over all its processes, so that the table shows queues and nothing else; with --real it is
OpenVINO, and every answer must equal that of a lone call bit by bit.

closed: 8 clients, each sends its next request when it has its answer; 40 to 700 frames.
open: the same lengths and, 3 in 100, one of 2,900 frames; Poisson arrivals.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from benchmarks.small_repository import ENGINE, WINDOW, build_small_repository, request_of
from sifigan_triton.client import SifiganClient
from sifigan_triton.server.triton_server import TritonServer

WINDOW_S = 0.004
LENGTHS = (40, 64, 100, 130, 200, 300, 500, 700, 2900)
"""Frames; the first one is `short`, the last comes in the open loop only."""
WEIGHTS = (0.2, 0.15, 0.15, 0.1, 0.1, 0.1, 0.1, 0.07, 0.03)
CLIENTS, OPEN_REQUESTS = 8, 300
STAND_IN = f"""
import fcntl, time
import numpy as np

class Engine:
    sized, batch = False, 1

    def __init__(self, folder, precision, inputs):
        self.processor = open(folder / "processor", "w")

    def run(self, windows):
        for _ in windows["features"]:
            fcntl.flock(self.processor, fcntl.LOCK_EX)
            time.sleep({WINDOW_S})
            fcntl.flock(self.processor, fcntl.LOCK_UN)
        return np.ascontiguousarray(windows["excitation"][:, :, : {WINDOW * 120}])
"""


@dataclass
class Run:
    """Latencies of one loop, and how many windows the engine counted."""

    kinds: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    windows: int = 0

    def row(self) -> str:
        """Return the cells of the table."""
        values, kinds = np.array(self.seconds) * 1e3, np.array(self.kinds)
        short = values[kinds == 0]
        p50, p99 = np.percentile(values, [50, 99])
        cells = [f"{len(values) / self.elapsed:.1f}", f"{values.mean():.0f}", f"{p50:.0f}", f"{p99:.0f}"]
        cells += [f"{p99 / p50:.1f}", f"{short.mean():.0f}", f"{np.percentile(short, 99):.0f}"]
        return " | ".join([*cells, str(len(values)), str(self.windows)])


class Load:
    """Sends requests by their place in `LENGTHS` and holds every answer to that of a lone call."""

    def __init__(self, url: str) -> None:
        """Take the answers of lone calls."""
        self._url, self._thread = url, local()
        self.requests = [request_of(frames) for frames in LENGTHS]
        self._alone = [self.synthesize(kind) for kind in range(len(LENGTHS))]

    def synthesize(self, kind: int) -> npt.NDArray[np.float32]:
        """Send one request."""
        if not hasattr(self._thread, "client"):
            self._thread.client = SifiganClient(f"grpc://{self._url}")
        request = self.requests[kind]
        waveform: npt.NDArray[np.float32] = self._thread.client.synthesize(request.f0, request.mcep, request.bap)
        return waveform

    def timed(self, kind: int, since: float | None = None) -> float:
        """Return the seconds from `since`, or from now, to the answer."""
        started = time.perf_counter() if since is None else since
        waveform = self.synthesize(kind)
        seconds = time.perf_counter() - started
        if not np.array_equal(waveform, self._alone[kind]):
            raise RuntimeError(f"the audio of {LENGTHS[kind]} frames is not that of a lone call")
        return seconds

    def closed(self, seconds: float) -> Run:
        """Let clients send one request behind the other."""
        run, stop = Run(), time.perf_counter() + seconds

        def client(number: int) -> None:
            kind = number
            while time.perf_counter() < stop:
                kind = (kind + 3) % (len(LENGTHS) - 1)
                run.seconds.append(self.timed(kind))
                run.kinds.append(kind)

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(client, range(CLIENTS)))
        run.elapsed = seconds
        return run

    def open(self, load: float) -> Run:
        """Send requests when their time has come, so that windows arrive at `load` times the stand-in's rate."""
        random = np.random.default_rng(1)
        kinds = random.choice(len(LENGTHS), OPEN_REQUESTS, p=WEIGHTS).tolist()
        work = np.array([-(-frames // WINDOW) * WINDOW_S for frames in LENGTHS])
        at = time.perf_counter() + np.cumsum(random.exponential(work[kinds].mean() / load, OPEN_REQUESTS))
        with ThreadPoolExecutor(64) as pool:
            futures = []
            for kind, due in zip(kinds, at.tolist(), strict=True):
                time.sleep(max(due - time.perf_counter(), 0.0))
                futures.append(pool.submit(self.timed, kind, due))
        return Run(kinds, [future.result() for future in futures], float(at[-1] - at[0]))


def configure(repository: Path, processes: int) -> None:
    """Change how Triton runs the engine."""
    file = repository / ENGINE.model / "config.pbtxt"
    config: Any = text_format.Parse(file.read_text(encoding="utf-8"), pb.ModelConfig())
    config.instance_group[0].count = processes
    file.write_text(text_format.MessageToString(config), encoding="utf-8")


def windows_of(server: TritonServer) -> int:
    """Return the windows that the engine has computed since the server's start."""
    with SifiganClient(server.http_url) as client:
        return client.steps(server.metrics_url)[ENGINE.model].inferences


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true", help="run OpenVINO instead of the stand-in")
    parser.add_argument("--seconds", type=float, default=12.0, help="of the closed loop")
    parser.add_argument("--load", type=float, default=0.6, help="of the open loop, in the stand-in's rate")
    args = parser.parse_args()
    print("| processes | loop | requests/s | mean ms | p50 | p99 | p99/p50 | short, mean | short, p99 ", end="")
    print("| requests | windows |")
    print(f"| ---: | --- {'| ---: ' * 9}|")
    with tempfile.TemporaryDirectory() as folder:
        repository = build_small_repository(Path(folder))
        if not args.real:
            (repository / ENGINE.model / "1" / "runtime.py").write_text(STAND_IN, encoding="utf-8")
        for processes in (1, 2):
            configure(repository, processes)
            with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, models=("sifigan",)) as server:
                load = Load(server.grpc_url)
                for loop in ("closed", "open"):
                    before = windows_of(server)
                    run = load.closed(args.seconds) if loop == "closed" else load.open(args.load)
                    run.windows = windows_of(server) - before
                    print(f"| {processes} | {loop} | {run.row()} |", flush=True)


if __name__ == "__main__":
    main()

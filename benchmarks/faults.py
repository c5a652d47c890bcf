"""What callers of `serve` meet while its parts are struck, and how long it takes until it serves again.

    python -m benchmarks.faults [--only NAME ...]
    unshare -m sh -c 'mount -t tmpfs -o size=256m tmpfs /dev/shm && python -m benchmarks.faults --shm'

Two clients ask without a pause all the time: one over HTTP and one over gRPC, with the retries of our client; each
answer must have the bits of the first one. A third one asks without retries and says what a plain client meets. A
fault counts as over when three plain calls in a row were answered. Each fault meets a service of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.served import Served, processes
from benchmarks.tracks import shipped
from sifigan_triton.client import SifiganClient, SynthesisError

SHM = Path("/dev/shm")
LARGEST_FILLER = 2**30
SMALL_SHM = "Run: unshare -m sh -c 'mount -t tmpfs -o size=256m tmpfs /dev/shm && python -m benchmarks.faults --shm'"
STUB, SERVER, FRONT = "triton_python_b", "tritonserver", "envoy"
HEAD = "| fault | plain calls meet | serves again after s | calls with retries: good, failed | it said |\n"
HEAD += "| --- | --- | ---: | ---: | --- |"


class Callers:
    """Clients that never rest."""

    def __init__(self, http: str, grpc: str) -> None:
        """Start them."""
        self.http = http
        self._request = shipped("short")[0]
        self._stop, self.good, self.failed = threading.Event(), 0, []
        self._plain = SifiganClient(http, timeout_s=10.0, retries=0)
        self._expected = self._ask(SifiganClient(http))
        self._threads = [threading.Thread(target=self._run, args=(url,)) for url in (http, f"grpc://{grpc}")]
        for thread in self._threads:
            thread.start()

    def plain(self) -> str:
        """Ask without retries; return what came back, in a word."""
        try:
            return "audio" if np.array_equal(self._ask(self._plain), self._expected) else "OTHER AUDIO"
        except (SynthesisError, OSError) as error:
            text = str(error)
            known = ("starting or stopping", "went away", "a process of the server was lost", "no memory left", "room")
            return next((part for part in known if part in text), type(error).__name__ + ": " + text[:80])

    def close(self) -> None:
        """End them."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, client: SifiganClient) -> np.ndarray:
        return client.synthesize(self._request.f0, self._request.mcep, self._request.bap)

    def _run(self, url: str) -> None:
        with SifiganClient(url, timeout_s=120.0) as client:
            while not self._stop.is_set():
                try:
                    if not np.array_equal(self._ask(client), self._expected):
                        raise ValueError("other audio")
                    self.good += 1
                except Exception as error:  # noqa: BLE001 - counted
                    self.failed.append(f"{url}: {error!r}")


class House:
    """The processes of the service."""

    def __init__(self, served: Served, callers: Callers) -> None:
        """Remember it."""
        self.served, self.callers = served, callers

    def find(self, name: str) -> list[int]:
        """Return the processes of a name."""
        return [pid for pid, found in processes(self.served.pid).items() if found.startswith(name)]

    @contextlib.contextmanager
    def signal(self, name: str, index: int, number: signal.Signals, seconds: float = 0.0) -> Iterator[None]:
        """Send a process a signal; one that was stopped goes on after a while."""
        pid = self.find(name)[index]
        os.kill(pid, number)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        yield

    @contextlib.contextmanager
    def full_shm(self, seconds: float) -> Iterator[None]:
        """Leave no room in /dev/shm for a while."""
        free = os.statvfs(SHM).f_bavail * os.statvfs(SHM).f_frsize
        if free > LARGEST_FILLER:
            raise SystemExit(f"{SHM} has {free:,} bytes: filling it would take the machine's memory. {SMALL_SHM}")
        filler = SHM / "faults-filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free - 4096, 1))
        time.sleep(seconds)
        filler.unlink()
        yield

    @contextlib.contextmanager
    def long_calls(self, count: int) -> Iterator[None]:
        """Let long calls come together."""
        frames = 12000
        features = np.full(frames, 200.0), np.zeros((frames, 40)), np.zeros((frames, 3))

        def call(url: str) -> None:
            with SifiganClient(url, timeout_s=300.0) as client, contextlib.suppress(SynthesisError, OSError):
                client.synthesize(*features)

        urls = (self.callers.http, f"grpc://{self.served.grpc_url}")
        threads = [threading.Thread(target=call, args=(urls[n % 2],)) for n in range(count)]
        for thread in threads:
            thread.start()
        yield
        for thread in threads:
            thread.join()

    @contextlib.contextmanager
    def vanishing(self, protocol: str, count: int = 50) -> Iterator[None]:
        """Let processes that wait for an answer be killed."""
        url = self.callers.http if protocol == "http" else f"grpc://{self.served.grpc_url}"
        code = (
            "import sys, threading\nfrom benchmarks.tracks import shipped\nfrom sifigan_triton.client import *\n"
            "request = shipped('long')[0]\nprint('go', flush=True)\n"
            f"call = lambda: SifiganClient('{url}', retries=0).synthesize(request.f0, request.mcep, request.bap)\n"
            f"[threading.Thread(target=call).start() for _ in range({count // 10})]\n"
        )
        for _ in range(10):
            with subprocess.Popen(
                [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as child:
                assert child.stdout is not None
                child.stdout.readline()
                time.sleep(0.3)
                child.kill()
        yield

    @contextlib.contextmanager
    def idle(self, count: int, sent: bytes = b"") -> Iterator[None]:
        """Hold connections open that say no more than this."""
        host, port = self.callers.http.split(":")
        held = [socket.create_connection((host, int(port))) for _ in range(count)]
        for connection in held:
            connection.sendall(sent)
        yield
        for connection in held:
            connection.close()

    @contextlib.contextmanager
    def slow_readers(self, count: int) -> Iterator[None]:
        """Ask for long answers and do not read them."""
        request = shipped("long")[0]
        tensors = {"f0": request.f0, "mcep": request.mcep, "bap": request.bap}
        inputs = [
            {"name": name, "shape": list(values.shape), "datatype": "FP32", "data": values.ravel().tolist()}
            for name, values in tensors.items()
        ]
        body = repr({"inputs": inputs, "outputs": [{"name": "waveform"}]}).replace("'", '"').encode()
        held = []
        for _ in range(count):
            connection = http.client.HTTPConnection(self.callers.http)
            connection.connect()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.request("POST", "/v2/models/sifigan/infer", body)
            held.append(connection)
            time.sleep(0.5)
        yield
        for connection in held:
            connection.close()


KILL, STOP = signal.SIGKILL, signal.SIGSTOP
HALF = b"POST /v2/models/sifigan/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
Fault = Callable[[House], contextlib.AbstractContextManager[None]]
FAULTS: dict[str, Fault] = {
    "SIGKILL of Python process 0": lambda house: house.signal(STUB, 0, KILL),
    "SIGKILL of Python process 1": lambda house: house.signal(STUB, 1, KILL),
    "SIGKILL of Python process 2": lambda house: house.signal(STUB, 2, KILL),
    "SIGKILL of Python process 3": lambda house: house.signal(STUB, 3, KILL),
    "SIGKILL of Triton": lambda house: house.signal(SERVER, 0, KILL),
    "SIGKILL of the proxy": lambda house: house.signal(FRONT, 0, KILL),
    "SIGSTOP of a Python process, 10 s": lambda house: house.signal(STUB, 1, STOP, 10.0),
    "SIGSTOP of Triton, 10 s": lambda house: house.signal(SERVER, 0, STOP, 10.0),
    "SIGSTOP of the proxy, 10 s": lambda house: house.signal(FRONT, 0, STOP, 10.0),
    "/dev/shm full for 10 s": lambda house: house.full_shm(10.0),
    "/dev/shm of 256 MB, 12 calls of a minute at once": lambda house: house.long_calls(12),
    "50 HTTP clients killed while they wait": lambda house: house.vanishing("http"),
    "50 gRPC clients killed while they wait": lambda house: house.vanishing("grpc"),
    "500 idle connections": lambda house: house.idle(500),
    "500 that send half a request": lambda house: house.idle(500, HALF),
    "20 that do not read their answer": lambda house: house.slow_readers(20),
}


def strike(house: House, name: str, fault: Fault) -> bool:
    """Let one fault happen and print its row; tell whether all went well."""
    callers, met, over = house.callers, Counter[str](), threading.Event()
    good, failed, said = callers.good, len(callers.failed), len(house.served.said)
    last_bad = began = time.monotonic()

    def ask() -> None:
        nonlocal last_bad
        while not over.is_set():
            before = time.monotonic()
            word = callers.plain()
            met[word] += 1
            if word != "audio":
                last_bad = max(last_bad, before)
            time.sleep(0.05)

    asker = threading.Thread(target=ask)
    asker.start()
    with fault(house):
        time.sleep(2.0)
        in_a_row = 0
        until = time.monotonic() + 120.0
        while in_a_row < 3 and time.monotonic() < until:
            in_a_row = in_a_row + 1 if callers.plain() == "audio" else 0
            time.sleep(0.2)
    over.set()
    asker.join()
    words = ", ".join(f"{word} {count}" for word, count in met.most_common())
    lost = callers.failed[failed:]
    line = house.served.said[said:].splitlines()[:1]
    row = [
        name,
        words,
        f"{last_bad - began:.1f}",
        f"{callers.good - good}, {len(lost)}",
        (line or ["nothing"])[0][:110],
    ]
    print(f"| {' | '.join(row)} |", flush=True)
    for text in lost[:2]:
        print(f"  lost: {text}")
    return not lost and "OTHER AUDIO" not in met


def run(repository: Path, name: str) -> bool:
    """Strike a service of its own with one fault; tell whether all went well."""
    with tempfile.TemporaryDirectory() as folder:
        served = Served(repository, Path(folder))
        callers = Callers(*served.start())
        try:
            return strike(House(served, callers), name, FAULTS[name])
        finally:
            callers.close()
            served.stop()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="faults whose names hold one of these")
    parser.add_argument("--shm", action="store_true", help="the faults of a small /dev/shm instead of the others")
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    args = parser.parse_args()
    print(HEAD, flush=True)
    wanted = [name for name in FAULTS if ("/dev/shm" in name) == args.shm]
    names = [name for name in wanted if not args.only or any(word in name for word in args.only)]
    fine = [run(args.model_repository, name) for name in names]
    if not all(fine):
        sys.exit("calls were lost")


if __name__ == "__main__":
    main()

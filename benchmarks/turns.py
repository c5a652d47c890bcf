"""Tables: what requests get beside each other: short beside long ones, clients that give up, and mixed load.

    python -m benchmarks.turns [--repository model_repository] [beside] [clients] [give-up] [mixed --minutes 10]

beside: requests of 100 frames, one behind the other, alone and beside 1, 2 and 4 of 60,000 frames, `--rounds` times in
turn with pauses. `long, kept` is how many windows of the long ones were computed a second against the pauses, `short
took` the share of the time that the short ones would have taken alone.
clients: 627 frames from one and from four clients, in turn.
give-up: 200 clients whose requests may take 3 s, by this project's client and by plain tritonclient with `timeout`.
mixed: eight clients with lengths of 20 to 2,400 frames and one with 60,000; every answer has to be, bit by bit, that
of a lone call. `stretch` is the latency against that of the lone call.
"""

from __future__ import annotations

import argparse
import itertools
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.tracks import recordings
from sifigan_triton.client import ServerUnavailableError, SifiganClient, SynthesisError, SynthesisTimeoutError
from sifigan_triton.features.requests import Request
from sifigan_triton.server.triton_server import TritonServer

SHORT, LONG = 100, 60_000
MIX = (20, 50, 100, 200, 400, 627, 1000, 2400)
GIVEN_UP = (SynthesisError, SynthesisTimeoutError, ServerUnavailableError, InferenceServerException, OSError)
Array = npt.NDArray[np.float32]


def request_of(frames: int) -> Request:
    """Return as many frames of singing, again and again."""
    sung = recordings()
    repeats = -(-frames // sung.f0.size)
    return Request(*(np.concatenate([values] * repeats)[:frames] for values in (sung.f0, sung.mcep, sung.bap)))


class Server:
    """A running server, and what it counts."""

    def __init__(self, server: TritonServer) -> None:
        """Remember its addresses."""
        self.http, self.grpc, self._metrics = server.http_url, server.grpc_url, server.metrics_url

    def count(self, name: str, **labels: object) -> float:
        """Return the sum of a metric over all labels but those that are given."""
        with urllib.request.urlopen(f"http://{self._metrics}/metrics") as page:
            lines = page.read().decode().splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.split()[-1])
            for line in lines
            if re.match(rf"{name}\{{", line) and all(w in line for w in wanted)
        )

    def synthesize(self, request: Request, timeout_s: float = 3600.0) -> Array:
        """Ask once, over gRPC, with a connection of its own."""
        with SifiganClient(f"grpc://{self.grpc}", timeout_s=timeout_s) as client:
            return client.synthesize(request.f0, request.mcep, request.bap)

    def seconds_of(self, request: Request) -> float:
        """Return how long one request takes."""
        started = time.perf_counter()
        self.synthesize(request)
        return time.perf_counter() - started


@contextmanager
def in_background(works: Sequence[Callable[[], object]]) -> Iterator[list[object]]:
    """Do things again and again in threads of their own, until the block ends; give what comes of them."""
    stop, results = threading.Event(), list[object]()

    def repeat(work: Callable[[], object]) -> None:
        while not stop.is_set():
            with suppress(*GIVEN_UP):
                results.append(work() is not None)

    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield results
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def one_after_the_other(server: Server, request: Request, seconds: float) -> list[float]:
    """Send requests one behind the other; return the latencies."""
    until, latencies = time.perf_counter() + seconds, []
    while time.perf_counter() < until:
        latencies.append(server.seconds_of(request))
    return latencies


def beside(serve: Callable[[], TritonServer], rounds: int, seconds: float) -> None:
    """Print the table of short requests beside long ones, for each number of long ones on a server of its own."""
    short, long = request_of(SHORT), request_of(LONG)
    print(
        f"| long requests | {SHORT} frames alone, p50 ms | beside, p50 ms | ratio | p99 ms | long, kept | short took |"
    )
    print(f"| ---: {'| ---: ' * 6}|", flush=True)
    for number in (1, 2, 4):
        with serve() as running:
            server = Server(running)
            server.synthesize(short)
            alone = np.array(one_after_the_other(server, short, seconds))
            with in_background([partial(server.synthesize, long)] * number):
                time.sleep(4.0 + 2.0 * number)  # all of them are in the engine
                latencies, kept = list[float](), list[float]()
                for _ in range(rounds):
                    pause, _ = with_rate(server, time.sleep, seconds / 2)
                    rate, some = with_rate(server, one_after_the_other, server, short, seconds)
                    after, _ = with_rate(server, time.sleep, seconds / 2)
                    latencies += some
                    kept.append(2 * rate / (pause + after))
                running.stop()  # the long ones with it
        p50, p99 = np.percentile(latencies, [50, 99])
        took = len(latencies) * np.median(alone) / (rounds * seconds)
        cells = [
            f"{1e3 * np.median(alone):.0f}",
            f"{1e3 * p50:.0f}",
            f"{p50 / np.median(alone):.2f}",
            f"{1e3 * p99:.0f}",
        ]
        print(f"| {number} | {' | '.join(cells)} | {np.median(kept):.2f} | {took:.2f} |", flush=True)


def with_rate(server: Server, work: Callable[..., list[float] | None], *arguments: object) -> tuple[float, list[float]]:
    """Do something; return how many of the largest windows the engine computed a second meanwhile, and the result."""
    before, began = server.count("sifigan_engine_windows_total", frames=512), time.perf_counter()
    result = work(*arguments) or []
    windows = server.count("sifigan_engine_windows_total", frames=512) - before
    return windows / (time.perf_counter() - began), result


def clients(server: Server, rounds: int, seconds: float) -> None:
    """Print the throughput of four clients against that of one."""
    request = request_of(627)
    rates: dict[int, list[float]] = {1: [], 4: []}
    for _, number in itertools.product(range(rounds), rates):
        started = time.perf_counter()
        with ThreadPoolExecutor(number) as pool:
            done = sum(
                map(len, pool.map(one_after_the_other, *zip(*[(server, request, seconds)] * number, strict=True)))
            )
        rates[number].append(done / (time.perf_counter() - started))
    ratios = [four / one for one, four in zip(rates[1], rates[4], strict=True)]
    print(f"627 frames: one client {np.median(rates[1]):.2f} requests/s, four {np.median(rates[4]):.2f}, ", end="")
    print(f"ratio {np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def give_up(server: Server, seconds: float, timeout_s: float = 3.0, number: int = 200) -> None:
    """Print what is left of requests whose clients have given up."""
    request = request_of(627)

    def plain(module: Any, url: str, connection: dict[str, float], **options: float) -> Callable[[], object]:
        def ask() -> object:
            with module.InferenceServerClient(url, **connection) as client:
                inputs = []
                for name in ("f0", "mcep", "bap"):
                    values = getattr(request, name)
                    inputs.append(module.InferInput(name, list(values.shape), "FP32"))
                    inputs[-1].set_data_from_numpy(values)
                return client.infer("sifigan", inputs, timeout=int(timeout_s * 1e6), **options)

        return ask

    kinds: dict[str, Callable[[], object]] = {
        "SifiganClient": partial(server.synthesize, request, timeout_s),
        "tritonclient.http": plain(tritonclient.http, server.http, {"network_timeout": timeout_s}),
        "tritonclient.grpc": plain(tritonclient.grpc, server.grpc, {}, client_timeout=timeout_s),
    }
    print("| client | windows | answers | late windows | idle after, s | in windows |")
    print(f"| --- {'| ---: ' * 5}|")
    window_s = np.median([server.seconds_of(request_of(512)) for _ in range(5)])
    for name, ask in kinds.items():
        before = [server.count(f"sifigan_engine_{what}_total") for what in ("windows", "late_windows")]
        with in_background([ask] * number) as answers:
            time.sleep(seconds)
        gone = last = time.perf_counter()
        seen = server.count("sifigan_engine_windows_total")
        while time.perf_counter() - last < 2.0:
            now = server.count("sifigan_engine_windows_total")
            if now != seen:
                seen, last = now, time.perf_counter()
        after = [server.count(f"sifigan_engine_{what}_total") for what in ("windows", "late_windows")]
        windows, late = (b - a for a, b in zip(before, after, strict=True))
        idle_s = last - gone
        cells = [f"{windows:.0f}", str(len(answers)), f"{late / windows:.1%}", f"{idle_s:.2f}"]
        print(f"| {name} | {' | '.join(cells)} | {idle_s / window_s:.1f} |", flush=True)


def mixed(server: Server, minutes: float) -> None:
    """Print how far requests were stretched under mixed load; every answer has to be that of a lone call."""
    requests = {frames: request_of(frames) for frames in (*MIX, LONG)}
    alone_s = {frames: server.seconds_of(request) for frames, request in requests.items()}
    alone_s = {frames: server.seconds_of(request) for frames, request in requests.items()}
    answers = {frames: server.synthesize(request) for frames, request in requests.items()}
    until, stretches = time.perf_counter() + 60.0 * minutes, {frames: list[float]() for frames in requests}
    wrong: list[int] = []

    def ask(number: int) -> None:
        random = np.random.default_rng(number)
        while time.perf_counter() < until:
            frames = LONG if number == 0 else int(random.choice(MIX))
            started = time.perf_counter()
            waveform = server.synthesize(requests[frames])
            stretches[frames].append((time.perf_counter() - started) / alone_s[frames])
            if not np.array_equal(waveform, answers[frames]):
                wrong.append(frames)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("| frames | answers | alone, ms | stretch p50 | p99 | most |\n| ---: | ---: | ---: | ---: | ---: | ---: |")
    for frames, values in stretches.items():
        p50, p99 = np.percentile(values, [50, 99])
        print(
            f"| {frames:,} | {len(values)} | {1e3 * alone_s[frames]:.0f} | {p50:.1f} | {p99:.1f} | {max(values):.1f} |"
        )
    print(f"answers that differ from those of lone calls: {len(wrong)} of {sum(map(len, stretches.values()))}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["beside", "clients", "give-up", "mixed", []], default=[])
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of one figure")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the mixed load")
    args = parser.parse_args()
    parts = args.parts or ["beside", "clients", "give-up", "mixed"]
    serve = partial(TritonServer, args.repository, http_port=0, grpc_port=0, metrics_port=0, models=("sifigan",))
    if "beside" in parts:
        beside(serve, args.rounds, args.seconds)
    with serve() as running:
        server = Server(running)
        server.synthesize(request_of(627))
        if "clients" in parts:
            clients(server, args.rounds, args.seconds)
        if "give-up" in parts:
            give_up(server, args.seconds)
        if "mixed" in parts:
            mixed(server, args.minutes)


if __name__ == "__main__":
    main()

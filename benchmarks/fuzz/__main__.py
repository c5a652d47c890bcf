"""20,000 requests, good and hostile, against `sifigan-triton serve` as it ships.

    python -m benchmarks.fuzz [--requests 20000] [--seed 1] [--only INDEX]
    python -m benchmarks.fuzz --url localhost:8000 --grpc localhost:8001

Without addresses it builds a small repository and serves it. One request in ten is good: its audio must be bitwise what
it was before. A wrong one must get an error of the client's class, or audio where it is right after all. Prints the
answers by kind, each wrong answer with the number that repeats it, and the server's memory before and after; exits with
1 if an answer was wrong or a process of the server ended.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.fuzz.case import World
from benchmarks.fuzz.trial import Trial
from benchmarks.fuzz.wire import Target
from benchmarks.served import Served, holdings, processes
from benchmarks.small_repository import build_small_repository

INNER = ("preprocess", "preprocess-tensors", "postprocess", "sifigan-openvino-fp32", "sifigan-tensors")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--only", type=int, nargs="+", help="send these only, by their numbers")
    parser.add_argument("--url", help="host:port of HTTP of a server that is up")
    parser.add_argument("--grpc", help="host:port of its gRPC")
    parser.add_argument("--pid", type=int, help="its process id, for memory and for what becomes of it")
    parser.add_argument("--model-repository", type=Path, help="what to serve (a small voice, built for it)")
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the server is stopped too
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.url:
            failed = fuzz(args, args.url, args.grpc, None)
        else:
            repository = args.model_repository or build_small_repository(folder)
            served = Served(repository, folder)
            try:
                failed = fuzz(args, *served.start(), served)
            finally:
                served.stop()
    sys.exit("answers were wrong" if failed else 0)


def fuzz(args: argparse.Namespace, http_url: str, grpc_url: str, served: Served | None) -> bool:
    """Send the requests to a server and print what came back; tell whether something was wrong."""
    target = Target(http_url, grpc_url)
    trial = Trial(target, World(inner=configurations(http_url)), args.seed)
    trial.take_references()
    root = served.pid if served else args.pid
    before, started = holdings(root), time.perf_counter()
    indices = args.only or range(args.requests)
    tally = trial.run(indices, args.at_once, watch(target, served, args.pid))
    print(tally.table())
    seconds, index = tally.slowest
    print(f"\nseed {args.seed}, {time.perf_counter() - started:.0f} s; slowest: {seconds:.2f} s (--only {index})")
    after = holdings(served.pid if served else args.pid)
    for name in before:
        print(f"{name}: {before[name]:.1f} MB before, {after[name]:.1f} MB after")
    return bool(tally.failures)


def watch(target: Target, served: Served | None, pid: int | None) -> Callable[[], str | None]:
    """Return what says whether a process of the server has ended; it starts the server again then."""
    known = processes(served.pid if served else pid)

    def check() -> str | None:
        nonlocal known
        running = processes(served.pid if served else pid)
        gone = {known[number] for number in known.keys() - running.keys()}
        if not gone:
            return None
        if served is not None:
            served.stop()
            target.http_url, target.grpc_url = served.start()
        target.connect()
        known = processes(served.pid if served else pid)
        return f"ended: {', '.join(sorted(gone))}"

    return check


def configurations(http_url: str) -> tuple[dict[str, Any], ...]:
    """Ask for the configurations of the models behind the ensemble; those that may not be called have none."""
    found = []
    for model in INNER:
        try:
            with urllib.request.urlopen(f"http://{http_url}/v2/models/{model}/config", timeout=10.0) as answer:
                found.append(json.load(answer))
        except OSError:
            continue
    return tuple(found)


if __name__ == "__main__":
    main()

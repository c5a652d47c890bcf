"""What the longest requests leave behind: memory and shared memory of `serve` before, after one, and after many.

    python -m benchmarks.largest [--frames 60000] [--at-once 12]

Requests of the greatest length that the default build takes, over HTTP and gRPC, some at once with the retries of our
client; then one that is too long, and one whose body is too large for the proxy. Reads PSS and /dev/shm of all the
service's processes 2 s after each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.served import Served, holdings
from sifigan_triton.client import SifiganClient, SynthesisError


def call(url: str, frames: int) -> str:
    """Make one call; return what came back, in a word."""
    f0, mcep, bap = np.full(frames, 200.0), np.zeros((frames, 40)), np.zeros((frames, 3))
    with SifiganClient(url, timeout_s=900.0, retries=100) as client:
        try:
            return "audio" if client.synthesize(f0, mcep, bap).size == frames * 120 else "other"
        except SynthesisError as error:
            return str(error)[:70]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60000)
    parser.add_argument("--at-once", type=int, default=12)
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        served = Served(args.model_repository, Path(folder))
        http, grpc = served.start()
        urls = (http, f"grpc://{grpc}")
        print("| after | answers | PSS MB | /dev/shm MB |\n| --- | --- | ---: | ---: |")

        def row(name: str, answers: list[str]) -> None:
            time.sleep(2.0)
            seen = holdings(served.pid)
            words = ", ".join(f"{answers.count(word)} {word}" for word in dict.fromkeys(answers))
            print(f"| {name} | {words} | {seen['PSS MB']:.0f} | {seen['/dev/shm MB']:.0f} |", flush=True)

        try:
            row("the start", [])
            row("a second of audio", [call(url, 200) for url in urls])
            row("the longest, alone", [call(http, args.frames)])
            for count in (args.at_once, args.at_once):
                with ThreadPoolExecutor(count) as pool:
                    answers = list(pool.map(lambda n: call(urls[n % 2], args.frames), range(count)))
                row(f"{count} of the longest at once", answers)
            row("ten that are too long", [call(urls[n % 2], args.frames * 6) for n in range(10)])
            row("ten that are too large", [call(urls[n % 2], args.frames * 20) for n in range(10)])
        finally:
            served.stop()


if __name__ == "__main__":
    main()

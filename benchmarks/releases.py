"""What servers meet while releases are published: interrupted at random points, and under load.

    python -m benchmarks.releases [--kills 50] [--rounds 5] [--seed 0]

Two small voices and an object store of its own (moto's server). First `publish` is killed at a random moment, again and
again: what is fetched after each must be one of the two releases, whole, and the next `publish` must complete. Then a
service follows the store under load over HTTP and gRPC, without retries, while releases are published and rolled back:
no call may fail, and each answer must have the bits of one of the two.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from benchmarks.served import Served
from benchmarks.small_repository import build_small_repository, request_of
from sifigan_triton.client import SifiganClient, SynthesisError
from sifigan_triton.server.triton_server import TritonServer
from sifigan_triton.store.address import Address
from sifigan_triton.store.bucket import Bucket
from sifigan_triton.store.fetch import fetch
from sifigan_triton.store.publish import publish, roll_back
from sifigan_triton.store.release import release_key, scan

BUCKET, FRAMES, WAIT_S = "voices", 200, 120.0


def run_publish(repository: Path, address: Address) -> subprocess.Popen[bytes]:
    """Start the command, as a user starts it."""
    command = [sys.executable, "-m", "sifigan_triton", "publish", str(repository), str(address)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def interrupted(one: Path, two: Path, folder: Path, kills: int, seed: int) -> None:
    """Kill `publish` again and again, and print what was fetched after it.

    Raises:
        SystemExit: if that was not one of the releases, or the next `publish` did not complete.

    """
    address, chance, met = Address(BUCKET, "interrupted"), random.Random(seed), Counter[str]()
    old, new = publish(one, address).release.id, scan(two).id
    began = time.monotonic()
    run_publish(two, Address(BUCKET, "whole")).wait()
    whole_s = time.monotonic() - began
    bucket = Bucket(address)
    for _ in range(kills):
        process = run_publish(two, address)
        time.sleep(chance.uniform(0.3, 1.05) * whole_s)
        process.send_signal(signal.SIGKILL)
        done = process.wait() == 0
        there = len(list(bucket.objects(release_key(new))))
        served = fetch(address, folder / "cache").name
        if served not in (old, new) or (done and served != new):
            raise SystemExit(f"release {served} was served")
        step = "while it uploaded" if there else "before it uploaded"
        listed = any(each.name.endswith("RELEASE.json") for each in bucket.objects(release_key(new)))
        step = "when the list was there" if listed else step
        met["when it was done" if done else "after the switch" if served == new else step] += 1
        process = run_publish(two, address)
        if process.wait() != 0 or fetch(address, folder / "cache").name != new:
            assert process.stderr is not None
            raise SystemExit(f"the next publish did not complete: {process.stderr.read().decode()}")
        roll_back(Address(BUCKET, "interrupted", old))
        bucket.remove([each.name for each in bucket.objects(release_key(new))])
    points = ", ".join(f"{count} {step}" for step, count in met.items())
    print(f"{kills} times killed ({points}): no broken release was served, each next publish completed", flush=True)


class Callers:
    """Clients that ask without a pause and without retries."""

    def __init__(self, urls: tuple[str, str], known: dict[bytes, str]) -> None:
        """Start them; `known`: the bytes of each release's answer."""
        self.known, self.met, self.failed = known, Counter[str](), list[str]()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(url,)) for url in urls]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End them."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, url: str) -> None:
        with SifiganClient(url, timeout_s=60.0, retries=0) as client:
            while not self._over.is_set():
                try:
                    self.met[self.known.get(answer(client), "OTHER AUDIO")] += 1
                except (SynthesisError, OSError) as error:
                    self.failed.append(f"{url}: {error}")


def answer(client: SifiganClient) -> bytes:
    """Return the bytes of the answer to one request."""
    request = request_of(FRAMES)
    return client.synthesize(request.f0, request.mcep, request.bap).tobytes()


def sound(repository: Path) -> bytes:
    """Return what a repository answers, from a server of its own."""
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        return answer(SifiganClient(server.http_url))


def under_load(one: Path, two: Path, folder: Path, rounds: int) -> None:
    """Publish and roll back under load, and print what callers met.

    Raises:
        SystemExit: if a call failed, or an answer was of neither release.

    """
    address = Address(BUCKET, "load")
    publish(one, address)
    served = Served(str(address), folder, "--follow", "1")
    http, grpc = served.start()
    callers = Callers((http, f"grpc://{grpc}"), {sound(one): "one", sound(two): "two"})
    took = []
    try:
        for number in range(2 * rounds):
            name, began = ("two", "one")[number % 2], time.monotonic()
            if name == "two":
                publish(two, address)
            else:
                roll_back(address)
            before = callers.met[name]
            while callers.met[name] == before:
                if time.monotonic() - began > WAIT_S:
                    raise SystemExit(f"release {name} is not served after {WAIT_S:g} s")
                time.sleep(0.05)
            took.append(time.monotonic() - began)
            time.sleep(2.0)
    finally:
        callers.close()
        served.stop()
    answers = ", ".join(f"{count} {name}" for name, count in sorted(callers.met.items()))
    print(f"{rounds} times published, {rounds} times rolled back: {answers}; {len(callers.failed)} failed;")
    print(f"the first answer of the other release {min(took):.1f} to {max(took):.1f} s after the command began")
    if callers.failed or set(callers.met) - {"one", "two"}:
        raise SystemExit("\n".join(callers.failed[:3]) or "audio of neither release")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    store = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    os.environ |= {"AWS_ENDPOINT_URL_S3": f"http://{host}:{port}", "AWS_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SIFIGAN_CACHE"] = str(folder / "served")
        one, two = (build_small_repository(folder / f"voice-{seed}", seed) for seed in (0, 1))
        if args.kills:
            interrupted(one, two, folder, args.kills, args.seed)
        if args.rounds:
            under_load(one, two, folder, args.rounds)
    store.stop()


if __name__ == "__main__":
    main()

"""Several servers behind the gateway of the chart: how much more they do, and what callers see of their faults.

    python -m benchmarks.cluster [--only throughput kill stop roll overload] [--share 0.5] [--seconds 20]

Each of three servers is `sifigan-triton serve` in a control group that gets `--share` of one core (root; 0: no such
bound). The gateway is Envoy with what the chart renders. All clients make each call once: `retries=0`.

throughput: 1, 2, 3 servers, four clients for each that never rest, 627 frames over HTTP.
kill: SIGKILL of all processes of a server. It is started again after 15 s.
stop: SIGSTOP of all processes of a server, which go on after 15 s.
roll: one server after the other is told to stop, and started again with another voice.
overload: 200 clients at once, then twice the capacity at random moments; each as in `benchmarks.overload`.

While `kill`, `stop` and `roll` happen, four clients ask without a rest, two over HTTP and two over gRPC; each answer
must have the bits that the servers give when they are asked alone. Exits with 1 if a call failed or has other bits.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.gateway import Gateway
from benchmarks.overload import HEAD, Crowd, Trial
from benchmarks.served import Served, processes
from benchmarks.tracks import shipped
from sifigan_triton.build.model_repository import BuildOptions, build
from sifigan_triton.client import SifiganClient
from sifigan_triton.features.requests import Request
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.server.ports import PortLease
from sifigan_triton.voice.folder import RANDOM_CARD, random_voice, save_voice

SERVERS = 3
PARTS = ("throughput", "kill", "stop", "roll", "overload")
AWAY_S = 15.0
"""Seconds that a server is killed or stopped."""
WATCHDOG = "sh"
"""Removes what a killed server leaves, as the end of a pod does."""
PERIOD_US = 100_000


@contextmanager
def part_of_a_core(name: str, share: float) -> Iterator[list[str]]:
    """Make a control group with a share of the processor; yield the command that runs others in it.

    Raises:
        OSError: if that is not allowed here.

    """
    if not share:
        yield []
        return
    root = Path("/sys/fs/cgroup")
    second = (root / "cgroup.controllers").is_file() and "cpu" in (root / "cgroup.subtree_control").read_text().split()
    group = (root if second else root / "cpu") / f"sifigan-{name}"
    group.mkdir()
    try:
        quota = round(share * PERIOD_US)
        if second:
            (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        yield ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]
    finally:
        until = time.monotonic() + 10.0
        while (group / "cgroup.procs").read_text() and time.monotonic() < until:
            time.sleep(0.1)
        group.rmdir()


class Cluster:
    """Three servers and the gateway before some of them."""

    def __init__(self, folder: Path, repository: Path, commands: list[list[str]]) -> None:
        """Start the servers."""
        self._folder, self._commands = folder, commands
        self._lease = PortLease("127.0.0.1", {f"{name}{n}": 0 for n in range(SERVERS) for name in ("http", "grpc")})
        self._lease.acquire()
        self.servers: list[Served] = []
        self.gateway: Gateway | None = None
        for number in range(SERVERS):
            self.servers.append(self._served(number, repository))
            self.servers[-1].start()

    def _served(self, number: int, repository: Path) -> Served:
        folder = self._folder / f"server-{number}"
        folder.mkdir(exist_ok=True)
        ports = [f"--{name}-port={self._lease[f'{name}{number}']}" for name in ("http", "grpc")]
        return Served(repository, folder, *ports, within=self._commands[number])

    def open(self, count: int) -> Gateway:
        """Put a gateway before some of the servers, in the place of the one that was there."""
        self.close()
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        urls = [self._lease.url(f"grpc{number}") for number in range(count)]
        self.gateway = Gateway(folder, urls, {"replicas": count})
        return self.gateway

    def close(self) -> None:
        """End the gateway."""
        if self.gateway is not None:
            self.gateway.stop()
            self.gateway = None

    def start(self, number: int, repository: Path) -> None:
        """Start a server again, under its old address, and wait until the gateway uses it."""
        self.servers[number] = self._served(number, repository)
        self.servers[number].start()
        until = time.monotonic() + 30.0
        while self.healthy() < SERVERS and time.monotonic() < until:
            time.sleep(0.1)

    def healthy(self) -> int:
        """Return how many servers the gateway takes for well."""
        name = "cluster.servers.membership_healthy"
        return 0 if self.gateway is None else self.gateway.stats(name)[name]

    def signal(self, number: int, which: signal.Signals) -> None:
        """Send a signal to all processes of a server, those that watch others last."""
        for pid, name in sorted(processes(self.servers[number].pid).items(), reverse=True):
            if name != WATCHDOG:
                os.kill(pid, which)

    def cpu_s(self) -> float:
        """Return the processor time of all servers, in seconds."""
        return sum(server.cpu_s() for server in self.servers)

    def stop(self) -> None:
        """End all of it."""
        self.close()
        for server in self.servers:
            server.stop()
        self._lease.release()


def ask(url: str, request: Request) -> str:
    """Return the hash of a server's answer."""
    with SifiganClient(url, retries=0) as client:
        return fingerprint(client, request)


def fingerprint(client: SifiganClient, request: Request) -> str:
    """Make a call and return the hash of its answer."""
    return hashlib.sha256(client.synthesize(request.f0, request.mcep, request.bap).tobytes()).hexdigest()[:12]


@dataclass
class Load:
    """Clients that never rest, and what they got."""

    gateway: Gateway
    request: Request
    hashes: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __enter__(self) -> Load:
        """Start them."""
        self._over = threading.Event()
        urls = [self.gateway.url("http"), f"grpc://{self.gateway.url('grpc')}"] * 2
        self._threads = [threading.Thread(target=self._run, args=(url,)) for url in urls]
        for thread in self._threads:
            thread.start()
        time.sleep(3.0)
        return self

    def __exit__(self, *_: object) -> None:
        """Let them end."""
        time.sleep(3.0)
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, url: str) -> None:
        with SifiganClient(url, retries=0) as client:
            while not self._over.is_set():
                began = time.monotonic()
                try:
                    self.hashes[fingerprint(client, self.request)] += 1
                except Exception as error:  # noqa: BLE001 - counted
                    self.failed.append(repr(error))
                self.seconds.append(time.monotonic() - began)


def throughput(cluster: Cluster, seconds: float) -> None:
    """Measure 1, 2 and 3 servers."""
    print("\n| servers | answers a second | times one | p50 ms | p99 ms | failed |\n|" + " ---: |" * 6)
    one = 0.0
    for count in range(1, SERVERS + 1):
        gateway = cluster.open(count)
        crowd = Crowd(cluster, gateway.url("http"))

        async def run(trial: Trial, until: float, crowd: Crowd = crowd, clients: int = 4 * count) -> None:
            await crowd.crowd(trial, until, clients)

        asyncio.run(crowd.trial("warm", 3.0, run))
        trial = asyncio.run(crowd.trial("load", seconds, run))
        rate = len(trial.answered) / trial.seconds
        one = one or rate
        p50, p99 = np.percentile(trial.answered, [50, 99]) * 1e3
        failed = len(trial.failed) + len(trial.refused)
        print(f"| {count} | {rate:.2f} | {rate / one:.2f} | {p50:.0f} | {p99:.0f} | {failed} |", flush=True)


def fault(cluster: Cluster, kind: str, repository: Path, other: Path) -> bool:
    """Let a fault happen under load; tell whether no caller saw it."""
    gateway, request = cluster.open(SERVERS), shipped("short")[0]
    known = {ask(f"grpc://{cluster.servers[0].grpc_url}", request): "old"}
    with Load(gateway, request) as load:
        if kind == "roll":
            for number in range(SERVERS):
                cluster.servers[number].stop()
                cluster.start(number, other)
        else:
            cluster.signal(0, signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
            time.sleep(AWAY_S)
            if kind == "kill":
                cluster.start(0, repository)
            else:
                cluster.signal(0, signal.SIGCONT)
                while cluster.healthy() < SERVERS:
                    time.sleep(0.1)
    if kind == "roll":
        known[ask(f"grpc://{cluster.servers[0].grpc_url}", request)] = "new"
    counts = Counter({known.get(bits, "OTHER"): count for bits, count in load.hashes.items()})
    again = gateway.stats("cluster.servers.upstream_rq_retry")["cluster.servers.upstream_rq_retry"]
    p50, p99, most = np.percentile(load.seconds, [50, 99, 100])
    row = [kind, f"{counts['old']}, {counts['new']}, {counts['OTHER']}", len(load.failed), again]
    print("| " + " | ".join(map(str, row)) + f" | {p50:.2f}, {p99:.2f}, {most:.1f} |", flush=True)
    for text in load.failed[:3]:
        print(f"  failed: {text}")
    return not load.failed and not counts["OTHER"]


def overload(cluster: Cluster, seconds: float, clients: int) -> None:
    """Ask for more than they can do."""
    gateway = cluster.open(SERVERS)
    crowd = Crowd(cluster, gateway.url("http"))

    async def many(trial: Trial, until: float) -> None:
        await crowd.crowd(trial, until, clients)

    async def often(trial: Trial, until: float) -> None:
        await crowd.at_rate(trial, until, 2.0 * len(busy.answered) / busy.seconds)

    alone = asyncio.run(crowd.trial("alone", seconds, crowd.alone))
    print(f"\n{HEAD}\n{alone.row(alone)}", flush=True)
    for name, load in ((f"{clients} clients", many), ("2 x", often)):
        before = len(gateway.log)
        busy = asyncio.run(crowd.trial(name, seconds, load))
        print(busy.row(alone), flush=True)
        time.sleep(1.5)
        lines = [json.loads(line) for line in gateway.log[before:].splitlines()]
        took = [line["milliseconds"] for line in lines if line.get("status") == 503] or [0]
        tries = Counter(line["tries"] for line in lines if line.get("status") == 503)
        p50, p99, most = np.percentile(took, [50, 99, 100])
        print(f"  refusals in the gateway: p50 {p50:.0f}, p99 {p99:.0f}, longest {most:.0f} ms; tries {dict(tries)}")


def build_other(folder: Path) -> Path:
    """Build another voice, which takes the same features."""
    save_voice(folder / "voice", *random_voice("other", channels=64), RANDOM_CARD)
    options = BuildOptions(folder / "voice", folder / "models", (ENGINES["openvino-fp32"],), None, 512, 70.0)
    build(options)
    return folder / "models"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--share", type=float, default=0.5, help="of a core, for each server")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--clients", type=int, default=200, help="of the overload")
    parser.add_argument("--model-repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--other-repository", type=Path, help="of the other voice (built, of random weights)")
    args = parser.parse_args()
    fine = True
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        other = args.other_repository or (build_other(folder) if "roll" in args.only else args.model_repository)
        commands = [stack.enter_context(part_of_a_core(f"{n}", args.share)) for n in range(SERVERS)]
        cluster = Cluster(folder, args.model_repository, commands)
        stack.callback(cluster.stop)
        if "throughput" in args.only:
            throughput(cluster, args.seconds)
        if "overload" in args.only:
            overload(cluster, args.seconds, args.clients)
        kinds = [kind for kind in ("kill", "stop", "roll") if kind in args.only]
        if kinds:
            print(
                "\n| fault | old, new, other bits | failed | made again | p50, p99, longest s |\n| --- |"
                + " ---: |" * 4
            )
        for kind in kinds:
            fine = fault(cluster, kind, args.model_repository, other) and fine
    if not fine:
        sys.exit("calls failed or have other bits")


if __name__ == "__main__":
    main()

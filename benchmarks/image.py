"""Build an image and try it: a server without privileges on a file system that cannot be written, and what it costs.

    python -m benchmarks.image [--engine podman] [--stand-in] [--file docker/cpu.Dockerfile] [--json FILE]

Docker or podman builds and runs it. With `--stand-in`, for machines that reach no registry, Debian's packages stand for
the image that FROM names (`docker/stand_in.sh`; as root, with podman and debootstrap).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.container_engine import ContainerEngine
from benchmarks.tracks import full_length, shipped
from sifigan_triton.client import SifiganClient
from sifigan_triton.quality import snr_db
from sifigan_triton.server.ports import PortLease
from sifigan_triton.voice.folder import load_voice

ROOT = Path(__file__).parent.parent
BASE = "docker.io/library/debian:bookworm-slim"
BOUND_DB = 110.0
"""Least SNR of the image's FP32 audio against the full-length generator, as the tests have it."""
START_S, STOP_S, CALLS = 180.0, 60.0, 10
TOOLS = ("pip", "pip3", "uv", "cc", "gcc", "g++", "clang", "make", "ld", "perf_analyzer")
INSIDE = """
import json, os, shutil, sys
from pathlib import Path
def fields(file):
    return dict(line.split(":", 1) for line in Path(file).read_text().splitlines() if ":" in line)
processes = []
for folder in Path("/proc").glob("[0-9]*"):
    try:
        status = fields(folder / "status")
        if int(folder.name) != os.getpid():
            memory = fields(folder / "smaps_rollup") if "VmRSS" in status else {}
            pss, rss = (int(memory.get(key, "0 kB").split()[0]) for key in ("Pss", "Rss"))
            row = dict(pid=int(folder.name), name=status["Name"].strip(), pss_kb=pss, rss_kb=rss)
            processes.append(row | dict(zombie=status["State"].strip().startswith("Z")))
    except FileNotFoundError:
        pass
def writable(folder):
    try:
        Path(folder, "try").touch()
        Path(folder, "try").unlink()
        return True
    except OSError:
        return False
status = fields("/proc/self/status")
print(json.dumps(dict(
    uid=os.getuid(),
    capabilities=int(status["CapBnd"], 16) | int(status["CapEff"], 16),
    no_new_privileges=int(status["NoNewPrivs"]),
    writable=[folder for folder in ("/", "/opt/sifigan", "/models", "/etc", "/tmp", "/dev/shm") if writable(folder)],
    tools=[name for name in sys.argv[1:] if shutil.which(name)],
    shm=sorted(os.listdir("/dev/shm")),
    packages=len(json.loads(Path("/opt/sifigan/sbom.json").read_text())["components"]),
    processes=processes,
)))
"""
"""What a container says of itself, as its own user."""
KILL = """
import os, signal, sys
from pathlib import Path
for folder in Path("/proc").glob("[0-9]*"):
    if (folder / "comm").read_text().strip() == sys.argv[1]:
        os.kill(int(folder.name), signal.SIGKILL)
"""
Facts = dict[str, Any]


class Trial:
    """A container of the image, and what is asked of it."""

    def __init__(self, engine: ContainerEngine, tag: str, folder: Path, models: Path | None) -> None:
        """Start it.

        Args:
            engine: what runs it.
            tag: the image.
            folder: where its log goes.
            models: a model repository to serve in the place of the image's own.

        """
        self.engine, self.name, self.log = engine, f"sifigan-try-{time.time_ns()}", folder / "container.log"
        lease = PortLease("127.0.0.1", {"HTTP": 0, "gRPC": 0})
        lease.acquire()
        self.http, self.grpc = f"127.0.0.1:{lease['HTTP']}", f"127.0.0.1:{lease['gRPC']}"
        lease.release()
        # As Kubernetes does it, and so that what is left there can be seen afterwards.
        self.shm = Path(tempfile.mkdtemp(prefix="sifigan-try-", dir="/dev/shm"))
        self.shm.chmod(0o1777)
        options = ["--rm", "--name", self.name, "--read-only", "--tmpfs", "/tmp", "--volume", f"{self.shm}:/dev/shm"]
        options += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        options += ["--publish", f"{self.http}:8000", "--publish", f"{self.grpc}:8001"]
        if models is not None:
            options += ["--volume", f"{models.resolve()}:/models/repository:ro"]
        self.began = time.monotonic()
        self.process = engine.start("run", *options, tag, log=self.log)

    def wait_for(self, text: str) -> float:
        """Wait until it has said something; returns seconds since its start.

        Raises:
            RuntimeError: if it ends, or does not say it in time.

        """
        deadline = time.monotonic() + START_S
        while text not in (said := self.log.read_text(encoding="utf-8", errors="replace")):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the container did not say {text!r}:\n" + "\n".join(said.splitlines()[-25:]))
            time.sleep(0.02)
        return time.monotonic() - self.began

    def inside(self, program: str, *arguments: str) -> str:
        """Run a Python program in it."""
        return self.engine.run("exec", "-i", self.name, "python3", "-", *arguments, text=program)

    def look(self) -> Facts:
        """Return what it says of itself."""
        facts: Facts = json.loads(self.inside(INSIDE, *TOOLS))
        return facts

    def health(self) -> str:
        """Run its health check; returns what that said."""
        said = self.engine.run("inspect", self.name, "--format", "{{json .Config.Healthcheck}}")
        kind, *words = json.loads(said)["Test"]
        if kind != "CMD":
            raise RuntimeError(f"the health check is of kind {kind}, expected CMD")
        return self.engine.run("exec", self.name, *words).strip()

    def synthesise(self, voice: Path) -> Facts:
        """Ask for a recording over HTTP and gRPC, compare it with the full-length generator, and take the time."""
        request = shipped("frames-627")[0]
        features = (request.f0, request.mcep, request.bap)
        loaded = load_voice(voice)
        reference = full_length(request, *loaded)
        facts: Facts = {}
        for protocol, url in (("http", self.http), ("grpc", f"grpc://{self.grpc}")):
            with SifiganClient(url) as client:
                snr = snr_db(reference, client.synthesize(*features))
                times = []
                for _ in range(CALLS):
                    began = time.perf_counter()
                    client.synthesize(*features)
                    times.append(time.perf_counter() - began)
            facts[protocol] = {"snr_db": round(snr, 1), "median_ms": round(1e3 * statistics.median(times), 1)}
            check(snr >= BOUND_DB, f"the audio over {protocol} has {snr:.1f} dB against the generator's")
        check(float(np.std(reference)) > 1e-3, "the reference is silent")
        return facts

    def stop(self) -> Facts:
        """Tell it to stop; returns its status, how long it took and what it left."""
        began = time.monotonic()
        self.engine.run("stop", "-t", str(int(STOP_S)), self.name)
        status = self.process.wait(STOP_S + 30)
        facts: Facts = {"status": status, "seconds": round(time.monotonic() - began, 2)}
        facts["left_in_shm"] = sorted(path.name for path in self.shm.iterdir())
        return facts

    def close(self) -> None:
        """Remove it, whatever has happened."""
        if self.process.poll() is None:
            self.engine.run("rm", "-f", self.name, check=False)
            self.process.wait()
        shutil.rmtree(self.shm, ignore_errors=True)


def check(passed: bool, message: str) -> None:
    """Stop where something is not as it has to be.

    Raises:
        RuntimeError: with the message.

    """
    if not passed:
        raise RuntimeError(message)


def check_confined(facts: Facts) -> None:
    """Check what a container says of itself when it has just started."""
    check(facts["uid"] == 1000, f"it runs as user {facts['uid']}, expected 1000")
    check(facts["capabilities"] == 0, f"it has capabilities {facts['capabilities']:#x}, expected none")
    check(facts["no_new_privileges"] == 1, "it may gain privileges")
    check(facts["writable"] == ["/tmp", "/dev/shm"], f"{facts['writable']} can be written, expected /tmp and /dev/shm")
    check(not facts["tools"], f"{', '.join(facts['tools'])} should not be in the image")


def names(facts: Facts) -> Counter[str]:
    """Return the programs that run, and how many of each."""
    zombies = [each["name"] for each in facts["processes"] if each["zombie"]]
    check(not zombies, f"nobody collects {', '.join(zombies)}")
    return Counter(each["name"] for each in facts["processes"])


def try_image(trial: Trial, voice: Path) -> Facts:
    """Do with a container what happens to one; returns what was measured.

    Raises:
        RuntimeError: if anything is not as it has to be.

    """
    facts: Facts = {"ready_s": round(trial.wait_for("ready: "), 2)}
    first = trial.look()
    check_confined(first)
    facts["packages"], facts["health"] = first["packages"], trial.health()
    facts |= trial.synthesise(voice)
    running = trial.look()["processes"]
    facts["memory_mb"] = {
        each["name"]: round(each["rss_kb"] / 1e3) for each in sorted(running, key=lambda row: -row["rss_kb"])[:6]
    }
    facts["pss_mb"] = round(sum(each["pss_kb"] for each in running) / 1e3)
    trial.inside(KILL, "tritonserver")
    trial.wait_for("Triton serves again after")
    after = trial.look()
    check(names(after) == names(first), f"{names(after)} run after a fault, expected {names(first)}")
    check(trial.health().startswith("healthy"), "it is not healthy after a fault")
    facts["stop"] = trial.stop()
    check(facts["stop"]["status"] == 0, f"it ended with status {facts['stop']['status']}, expected 0")
    check(not facts["stop"]["left_in_shm"], f"{facts['stop']['left_in_shm']} is left in /dev/shm")
    return facts


def build(engine: ContainerEngine, args: argparse.Namespace, folder: Path) -> Facts:
    """Build the image; returns seconds and sizes."""
    began = time.monotonic()
    if args.stand_in and (args.no_cache or not engine.run("images", "--quiet", BASE).strip()):
        subprocess.run([ROOT / "docker" / "stand_in.sh", BASE], check=True)
    based = time.monotonic()
    options = [word for each in args.build_arg for word in ("--build-arg", each)]
    revision = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    options += ["--build-arg", f"REVISION={revision.stdout.strip()}"]
    options += ["--no-cache"] if args.no_cache else []
    engine.build("--file", args.file, "--tag", args.tag, *options, str(ROOT), folder=folder, log=folder / "build.log")
    facts: Facts = {"base_s": round(based - began, 1), "build_s": round(time.monotonic() - based, 1)}
    return facts


@contextmanager
def started(engine: ContainerEngine, tag: str, folder: Path, models: Path | None) -> Iterator[Trial]:
    """Give a container, and remove it."""
    trial = Trial(engine, tag, folder, models)
    try:
        yield trial
    finally:
        trial.close()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Build an image, run it, and measure it.")
    parser.add_argument("--engine", choices=("docker", "podman"), help="what builds and runs (default: what is there)")
    parser.add_argument("--file", default="docker/cpu.Dockerfile", help="the Dockerfile (default: %(default)s)")
    parser.add_argument("--tag", default="sifigan-triton:cpu", help="name of the image (default: %(default)s)")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="passed on, repeatable")
    parser.add_argument("--stand-in", action="store_true", help="make the image that FROM names by debootstrap")
    parser.add_argument("--no-cache", action="store_true", help="build everything anew")
    parser.add_argument("--no-build", action="store_true", help="only try the image that is there")
    parser.add_argument("--voice", type=Path, default=ROOT / "voices/demo", help="its voice (default: %(default)s)")
    parser.add_argument("--models", type=Path, help="a model repository to serve in the place of the image's own")
    parser.add_argument("--json", type=Path, help="a file for the results")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sifigan-image-"))
    try:
        engine = ContainerEngine("podman" if args.stand_in else args.engine)
        facts: Facts = {} if args.no_build else build(engine, args, folder)
        facts["size_mb"] = round(int(engine.run("image", "inspect", args.tag, "--format", "{{.Size}}")) / 1e6)
        with started(engine, args.tag, folder, args.models) as trial:
            facts |= try_image(trial, args.voice)
        facts["compressed_mb"] = round(engine.compressed_bytes(args.tag) / 1e6)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{error}\nlogs: {folder}")
    text = json.dumps(facts, indent=1)
    print(text)
    if args.json is not None:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

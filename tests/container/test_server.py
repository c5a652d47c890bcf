"""The serving container's start-up and health check with the real server, outside a container."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sifigan_triton.measure.perf_analyzer import find_binary, perf_environment
from sifigan_triton.server.guarded_process import GuardedProcess
from sifigan_triton.server.ports import PortLease
from sifigan_triton.server.triton_wheel import TritonWheel
from tests.conftest import Deployment
from tests.container_scripts import DOCKER, ROOT, run

pytestmark = pytest.mark.server


def health_check(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the health check, as the image does: the file alone, without the project's packages."""
    return run(sys.executable, "-I", "-S", ROOT / "sifigan_triton/server/health.py", "--url", address, *arguments)


class Container(NamedTuple):
    """A server that the entry point has become, and where it answers."""

    process: GuardedProcess
    ports: PortLease
    directory: Path

    def health(self) -> subprocess.CompletedProcess[str]:
        """Run the health check."""
        return health_check(self.ports.url("HTTP"))

    def is_ready(self) -> bool:
        """Ask what Triton itself says."""
        connection = http.client.HTTPConnection(self.ports.url("HTTP"), timeout=5.0)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


@pytest.fixture(scope="module")
def container(zero_deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """The entry point with the real server, on the repository of a running deployment."""
    directory, wheel = tmp_path_factory.mktemp("container"), TritonWheel.find()
    prefix = f"sifigan_container_{os.getpid()}_"
    ports = PortLease("127.0.0.1", {"HTTP": 0, "gRPC": 0, "metrics": 0})
    ports.acquire()
    flags = [f"--backend-directory={wheel.stage_backends(directory)}", "--http-address=127.0.0.1"]
    flags += [f"--{kind.lower()}-port={ports[kind]}" for kind in ("HTTP", "gRPC", "metrics")]
    flags += [f"--backend-config=python,shm-region-prefix-name={prefix}", "--exit-timeout-secs=1"]
    environment = wheel.environment(directory) | {
        "TRITONSERVER": str(wheel.binary),
        "SIFIGAN_BAKED": str(zero_deployment.server.model_repository),
        "SIFIGAN_BUILT": str(directory / "none"),
        "SIFIGAN_GPU": "no",
        "SIFIGAN_MODELS": "sifigan",
    }
    log = directory / "log"
    process = GuardedProcess([str(DOCKER / "entrypoint.sh"), *flags], environment, log, directory, prefix)
    served = Container(process, ports, directory)
    try:
        deadline = time.monotonic() + 60.0
        while not served.is_ready():
            assert process.exit_status is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield served
    finally:
        process.stop(30.0)
        ports.release()


def test_healthy(container: Container) -> None:
    done = container.health()
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("healthy: sifigan 480 samples; ")


def test_measuring_the_real_server(container: Container, tmp_path: Path) -> None:
    """The SDK image's perf_analyzer is of the same release: it takes the same options."""
    environment = {
        "PERF_ANALYZER": str(find_binary()),
        "LD_LIBRARY_PATH": perf_environment(tmp_path)["LD_LIBRARY_PATH"],
        "URL": container.ports.url("gRPC"),
        "DATA": str(ROOT / "measurement_data"),
        "INPUTS": "short",
        "CONCURRENCIES": "1",
        "REQUESTS": "2",
    }
    done = run(DOCKER / "measure.sh", "-r", "3", "-s", "999", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "throughput:" in done.stdout.lower()


def test_health_check_sees_a_dead_model_that_readiness_does_not(container: Container) -> None:
    """Last: it breaks the server."""
    os.kill(stub(container.process.pid, "preprocess"), signal.SIGKILL)
    deadline = time.monotonic() + 10.0
    while (done := container.health()).returncode == 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert done.returncode == 1
    assert done.stdout.startswith("unhealthy after ")
    assert "is not healthy" in done.stdout
    assert container.is_ready()


def stub(server: int, model: str) -> int:
    """Return the process that runs a Python model of a server."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and os.getsid(int(folder.name)) == server:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            if "stub" in Path(words[0]).name and f"/{model}/" in words[1]:
                return int(folder.name)
    raise AssertionError(f"no process runs {model}")

"""The serving container's entry with the real server and the real proxy, outside a container."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sifigan_triton.measure.perf_analyzer import find_binary, perf_environment
from sifigan_triton.server.triton_wheel import TritonWheel
from tests.container_scripts import DOCKER, ROOT, Image, run

pytestmark = pytest.mark.server


class Container:
    """A running entry point, on an installation of the server that is laid out like NVIDIA's."""

    def __init__(self, folder: Path, repository: Path) -> None:
        image, wheel = Image(folder / "image"), TritonWheel.find()
        (image.triton / "bin" / "tritonserver").symlink_to(wheel.binary)
        (image.triton / "backends").symlink_to(wheel.stage_backends(folder))
        self.image, self.log, self.temporary = image, folder / "log", folder / "tmp"
        self.temporary.mkdir()
        environment = wheel.environment(folder)  # libraries and a Python for the models, which NVIDIA's image has
        environment |= {"PYTHONPATH": image.environment["PYTHONPATH"], "TMPDIR": str(self.temporary)}
        environment["PATH"] = f"{image.triton / 'bin'}:{image.programs}:{environment['PATH']}"
        environment |= dict.fromkeys(("HTTP_PORT", "GRPC_PORT", "METRICS_PORT"), "0") | {"SIFIGAN_HOST": "127.0.0.1"}
        environment |= {"SIFIGAN_BAKED": str(repository), "SIFIGAN_BUILT": str(folder / "none")}
        environment |= {"SIFIGAN_GPU": "no", "SIFIGAN_MODELS": "sifigan", "SIFIGAN_MAX_IN_FLIGHT": "3"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(image.command("--log-verbose=1"), env=environment, stdout=log, stderr=log)

    @property
    def said(self) -> str:
        """What it has written."""
        return self.log.read_text()

    def wait_for(self, text: str, timeout_s: float = 60.0) -> None:
        """Wait until it has said something."""
        deadline = time.monotonic() + timeout_s
        while text not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def url(self, protocol: str) -> str:
        """Return host and port, as it said them."""
        found = re.search(rf"ready: .*{protocol} ([0-9.:]+)", self.said)
        assert found, self.said
        return found[1]

    def health(self) -> subprocess.CompletedProcess[str]:
        """Run the health check, as the image does: the file alone, without the project's packages."""
        file = self.image.folder / "sifigan/sifigan_triton/server/health.py"
        return run(sys.executable, "-I", "-S", file, "--url", self.url("HTTP"))


@pytest.fixture(scope="module")
def container(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """The entry point on a repository of the demonstration voice."""
    served = Container(tmp_path_factory.mktemp("container"), small_repository)
    try:
        served.wait_for("ready: ")
        yield served
    finally:
        served.process.kill()  # what it has started ends with it
        served.process.wait()


def test_healthy(container: Container) -> None:
    done = container.health()
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("healthy: sifigan 480 samples; ")


def test_calls_go_through_the_proxy(container: Container) -> None:
    connection = http.client.HTTPConnection(container.url("HTTP"), timeout=10.0)
    connection.request("POST", "/v2/models/sifigan/infer", '{"inputs":[{"shape":[99999999]}]}')
    answer = connection.getresponse()
    assert answer.status == 400
    assert b"a shape promises more values than the request has bytes" in answer.read()


def test_measuring_the_real_server(container: Container, tmp_path: Path) -> None:
    """The SDK image's perf_analyzer is of the same release: it takes the same options."""
    environment = {
        "PERF_ANALYZER": str(find_binary()),
        "LD_LIBRARY_PATH": perf_environment(tmp_path)["LD_LIBRARY_PATH"],
        "URL": container.url("gRPC"),
        "DATA": str(ROOT / "measurement_data"),
        "INPUTS": "short",
        "CONCURRENCIES": "1",
        "REQUESTS": "2",
    }
    done = run(DOCKER / "measure.sh", "-r", "3", "-s", "999", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "throughput:" in done.stdout.lower()


def test_a_dead_model_is_started_again_and_a_stop_is_no_fault(container: Container) -> None:
    """Last: it ends the server. All logs come out, and nothing stays behind."""
    os.kill(stub(container.process.pid, "preprocess"), signal.SIGKILL)
    container.wait_for("processes of its Python models died or were stopped")
    container.wait_for("Triton serves again after")
    assert container.health().returncode == 0
    container.process.send_signal(signal.SIGTERM)
    assert container.process.wait(60) == 0
    assert "Timeout 5: Found 0 model versions that have in-flight" in container.said  # 0: it waited for connections
    assert container.said.count("Started HTTPService at 127.0.0.1:") == 2  # a line of Triton's, of each start
    assert '"reason":"shape"' in container.said  # a line of the proxy's
    assert [path.name for path in container.temporary.iterdir()] == ["sifigan-logs"]


def stub(ancestor: int, model: str) -> int:
    """Return the process that runs a Python model below another process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            above = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        if above == ancestor and "stub" in Path(words[0]).name and f"/{model}/" in words[1]:
            return int(folder.name)
    raise AssertionError(f"no process runs {model}")

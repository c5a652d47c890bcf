"""The launcher of the real Triton server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from sifigan_triton.server.triton_server import SHM_BYTES, ServerError, TritonServer
from tests.toy_models import IDENTITY, write_python_model

ANY_PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
BROKEN = IDENTITY.replace(
    "def execute", 'def initialize(self, args):\n        raise ValueError("no such voice")\n    def execute'
)
WHERE = IDENTITY.replace(
    "def execute",
    "def initialize(self, args):\n        import sys, numpy, openvino\n"
    "        print('PREFIX', sys.prefix, numpy.__file__, file=sys.stderr, flush=True)\n    def execute",
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_python_model(tmp_path / "models", "identity")
    return tmp_path / "models"


def infer(url: str, protocol: str, f0: np.ndarray) -> np.ndarray:
    client_module = {"http": tritonclient.http, "grpc": tritonclient.grpc}[protocol]
    tensor = client_module.InferInput("f0", f0.shape, "FP32")
    tensor.set_data_from_numpy(f0)
    client = client_module.InferenceServerClient(url)
    try:
        return client.infer("identity", [tensor]).as_numpy("waveform")
    finally:
        client.close()


def is_listening(url: str) -> bool:
    host, port = url.rsplit(":", 1)
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def is_running(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def leftovers(*shm_prefixes: str) -> list[Path]:
    """What servers have left: other tests run at the same time, so their own prefixes, and a folder of their own."""
    regions = [region for prefix in shm_prefixes for region in Path("/dev/shm").glob(f"{prefix}*")]
    return [*regions, *Path(tempfile.gettempdir()).glob("sifigan-triton-*")]


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files that nobody else uses."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@contextmanager
def occupied_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.server
@pytest.mark.usefixtures("own_folder")
def test_two_servers_answer_over_both_protocols_and_stop(repository: Path) -> None:
    f0 = np.linspace(100.0, 800.0, 627, dtype=np.float32)
    with TritonServer(repository, **ANY_PORTS) as first, TritonServer(repository, **ANY_PORTS) as second:
        urls = [url for s in (first, second) for url in (s.http_url, s.grpc_url, s.metrics_url)]
        assert len(set(urls)) == 6
        assert all(is_listening(url) for url in urls)
        for server in (first, second):
            np.testing.assert_array_equal(infer(server.http_url, "http", f0), f0)
            np.testing.assert_array_equal(infer(server.grpc_url, "grpc", f0), f0)
        groups = [first.pid, second.pid]
        regions = [*Path("/dev/shm").glob(f"{first.shm_prefix}*")]
        assert [region.stat().st_size for region in regions] == [SHM_BYTES]
        assert len(leftovers(first.shm_prefix, second.shm_prefix)) == 4
    assert not any(is_listening(url) for url in urls)
    assert not any(is_running(group) for group in groups if group)
    assert leftovers(first.shm_prefix, second.shm_prefix) == []


@pytest.mark.server
def test_models_run_with_the_packages_of_this_python(tmp_path: Path) -> None:
    write_python_model(tmp_path / "models", "where", WHERE)
    log = tmp_path / "logs" / "triton.log"
    with TritonServer(tmp_path / "models", log_path=log, **ANY_PORTS):
        pass
    line = next(line for line in log.read_text().splitlines() if line.startswith("PREFIX"))
    assert line.split()[1:] == [sys.prefix, np.__file__]


@pytest.mark.server
def test_only_the_chosen_models_are_loaded(repository: Path) -> None:
    write_python_model(repository, "broken", BROKEN)
    with TritonServer(repository, models=["identity"], **ANY_PORTS) as server:
        assert infer(server.http_url, "http", np.ones(1, np.float32)) == 1.0


@pytest.mark.server
def test_a_stopped_server_starts_again(repository: Path) -> None:
    server = TritonServer(repository, **ANY_PORTS)
    for _ in range(2):
        server.start()
        assert is_listening(server.http_url)
        server.stop()
    server.stop()


@pytest.mark.server
def test_broken_model_is_named_with_its_exception(repository: Path) -> None:
    write_python_model(repository, "broken", BROKEN)
    server = TritonServer(repository, **ANY_PORTS)
    with pytest.raises(
        ServerError, match=r"model 'broken' version 1: Internal: ValueError: no such voice(.|\n)*model.py"
    ):
        server.start()
    assert server.pid is None


@pytest.mark.server
def test_missing_package_comes_with_the_fix(tmp_path: Path) -> None:
    write_python_model(tmp_path, "hungry", "import nonesuch\n" + IDENTITY)
    with pytest.raises(ServerError, match=r"'hungry'(.|\n)*No module named 'nonesuch'(.|\n)*fix: install it"):
        TritonServer(tmp_path, **ANY_PORTS).start()


@pytest.mark.parametrize("purpose", ["http", "grpc", "metrics"])
def test_port_in_use_is_named(repository: Path, purpose: str) -> None:
    with occupied_port() as port:
        server = TritonServer(repository, **{**ANY_PORTS, f"{purpose}_port": port})
        with pytest.raises(ServerError, match=rf"(?i)the {purpose} port {port} on 127\.0\.0\.1 is in use: stop what"):
            server.start()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"http_port": 70000}, "the HTTP port is 70000, expected 1 to 65535", id="no-port"),
        pytest.param({"http_port": 18123, "grpc_port": 18123}, "the gRPC port 18123 .* is in use", id="twice-one-port"),
        pytest.param({"host": "203.0.113.1"}, r"cannot listen on 203\.0\.113\.1", id="foreign-address"),
    ],
)
def test_unusable_address_is_refused(repository: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ServerError, match=message):
        TritonServer(repository, **{**ANY_PORTS, **settings}).start()


def test_missing_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ServerError, match=r"the model repository .*nowhere is no folder: `sifigan-triton build` writes it"
    ):
        TritonServer(tmp_path / "nowhere", **ANY_PORTS).start()


@pytest.mark.server
def test_too_short_a_time_is_told_and_nothing_is_left(repository: Path) -> None:
    server = TritonServer(repository, ready_timeout_s=0.0, **ANY_PORTS)
    with pytest.raises(ServerError, match="was not ready within 0 s"):
        server.start()
    assert server.pid is None


@contextmanager
def run_owner(repository: Path, body: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a Python process that owns a server; give it and the server's process group."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom sifigan_triton.server.triton_server import TritonServer\n"
        "server = TritonServer(Path(sys.argv[1]), http_port=0, grpc_port=0, metrics_port=0)\n"
        f"server.start()\nprint(server.pid, flush=True)\n{body}\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(repository)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        group = int(owner.stdout.readline())
        try:
            yield owner, group
        finally:
            owner.kill()
            if is_running(group):
                os.killpg(group, signal.SIGTERM)


@pytest.mark.server
@pytest.mark.usefixtures("own_folder")
def test_server_dies_with_its_killed_owner(repository: Path) -> None:
    code = "Path(sys.argv[1], 'prefix').write_text(server.shm_prefix)\ntime.sleep(60)"
    with run_owner(repository, code) as (owner, group):
        assert eventually(lambda: (repository / "prefix").is_file() and (repository / "prefix").stat().st_size > 0)
        prefix = (repository / "prefix").read_text()
        assert is_running(group)
        assert len(leftovers(prefix)) == 2
        owner.kill()
        owner.wait()
        assert eventually(lambda: not is_running(group))
    assert eventually(lambda: leftovers(prefix) == [])

"""Whoever can reach a server's ports is a stranger: what a stranger may not do, over HTTP and gRPC."""

from __future__ import annotations

import http.client
import json
import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from sifigan_triton.server.triton_server import ServerError, TritonServer
from tests.toy_models import IDENTITY, write_python_model

pytestmark = pytest.mark.server

CONFIG = """{"name": "evil", "backend": "python", "max_batch_size": 0,
 "input": [{"name": "f0", "data_type": "TYPE_FP32", "dims": [-1]}],
 "output": [{"name": "waveform", "data_type": "TYPE_FP32", "dims": [-1]}],
 "instance_group": [{"kind": "KIND_CPU"}]}"""
Ask = Callable[..., tuple[int, str]]


def code(mark: Path) -> bytes:
    """Return a model whose code leaves a mark when it runs."""
    return f"open({str(mark)!r}, 'w').write('ran')\n{IDENTITY}".encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("doors") / "models"
    write_python_model(folder, "identity")
    with TritonServer(folder, models=["identity"], http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.fixture
def ask(server: TritonServer) -> Ask:
    def ask(method: str, path: str, body: object = None, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(server.http_url, timeout=60.0)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    return ask


@pytest.fixture
def client(server: TritonServer) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Content-Type": "application/json"}, id="json"),
        pytest.param({"Content-Type": "text/plain", "Origin": "https://evil.example"}, id="a web page in a browser"),
    ],
)
def test_nobody_runs_code_over_http(ask: Ask, tmp_path: Path, headers: dict[str, str]) -> None:
    parameters = {"config": CONFIG, "file:1/model.py": b64encode(code(tmp_path / "mark")).decode()}
    status, text = ask("POST", "/v2/repository/models/evil/load", {"parameters": parameters}, **headers)
    assert not (tmp_path / "mark").exists()
    assert status == 403, text
    assert ask("GET", "/v2/models/evil/ready")[0] != 200


def test_nobody_runs_code_over_grpc(client: tritonclient.grpc.InferenceServerClient, tmp_path: Path) -> None:
    with pytest.raises(InferenceServerException, match="restricted"):
        client.load_model("evil", config=CONFIG, files={"file:1/model.py": code(tmp_path / "mark")})
    assert not (tmp_path / "mark").exists()
    assert not client.is_model_ready("evil")


def test_nobody_takes_a_model_from_everybody(ask: Ask, client: tritonclient.grpc.InferenceServerClient) -> None:
    assert ask("POST", "/v2/repository/models/identity/unload", {})[0] == 403
    with pytest.raises(InferenceServerException, match="restricted"):
        client.unload_model("identity")
    assert ask("GET", "/v2/models/identity/ready")[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/trace/setting"),
        ("POST", "/v2/models/identity/trace/setting"),
        ("GET", "/v2/logging"),
        ("POST", "/v2/logging"),
        ("POST", "/v2/systemsharedmemory/region/a/register"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("POST", "/v2/cudasharedmemory/region/a/register"),
    ],
)
def test_what_only_operators_need_is_closed_over_http(ask: Ask, method: str, path: str) -> None:
    assert ask(method, path, {})[0] == 403


Client = tritonclient.grpc.InferenceServerClient


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda c: c.get_model_repository_index(), id="index"),
        pytest.param(lambda c: c.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}), id="trace"),
        pytest.param(lambda c: c.update_log_settings({"log_verbose_level": 1}), id="logging"),
        pytest.param(lambda c: c.register_system_shared_memory("a", "/a", 64), id="system memory"),
        pytest.param(lambda c: c.register_cuda_shared_memory("a", b64encode(bytes(64)), 0, 64), id="cuda memory"),
    ],
)
def test_what_only_operators_need_is_closed_over_grpc(client: Client, call: Callable[[Client], object]) -> None:
    with pytest.raises(InferenceServerException, match="restricted"):
        call(client)


def test_what_clients_need_is_open(ask: Ask, client: Client) -> None:
    paths = ("/v2", "/v2/health/ready", "/v2/health/live", "/v2/models/identity", "/v2/models/identity/config")
    assert {ask("GET", path)[0] for path in (*paths, "/v2/models/stats")} == {200}
    assert client.is_server_ready()
    assert client.get_inference_statistics("identity").model_stats[0].name == "identity"


def test_shared_memory_is_for_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"would listen on 0\.0\.0\.0: whoever may register memory can take over"):
        TritonServer(tmp_path, host="0.0.0.0", client_shared_memory=True).start()


def test_shared_memory_is_there_when_it_was_asked_for(tmp_path: Path) -> None:
    write_python_model(tmp_path, "identity")
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    with (
        TritonServer(tmp_path, client_shared_memory=True, **ports) as server,
        tritonclient.grpc.InferenceServerClient(server.grpc_url) as client,
    ):
        region = Path("/dev/shm", f"sifigan-test-{os.getpid()}")
        region.write_bytes(bytes(64))
        try:
            client.register_system_shared_memory("mine", f"/{region.name}", 64)
        finally:
            region.unlink()
        assert list(client.get_system_shared_memory_status().regions) == ["mine"]
        with pytest.raises(InferenceServerException, match="restricted"):
            client.get_model_repository_index()

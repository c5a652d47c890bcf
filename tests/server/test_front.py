"""The proxy before Triton: what it lets through, and how it refuses the rest, with a real Envoy and a real Triton."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import grpc as grpc_library
import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from sifigan_triton.client import SifiganClient, SynthesisError
from sifigan_triton.server.front import Front, config
from sifigan_triton.server.front.config import LONG_BYTES, Limits, Ports
from sifigan_triton.server.ports import PortLease
from sifigan_triton.server.triton_server import ServerError, TritonServer
from tests.toy_models import write_python_model

pytestmark = pytest.mark.server

# Answers when the file `go` beside the repository is there; a negative f0 says that it need not wait.
WAITING = """
import pathlib, threading, time
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.answer, args=(request, request.get_response_sender())).start()
        return [None] * len(requests)

    def answer(self, request, sender):
        values = pb_utils.get_input_tensor_by_name(request, "f0").as_numpy()
        while values[0] >= 0 and not pathlib.Path(GO).exists():
            time.sleep(0.01)
        response = pb_utils.InferenceResponse([pb_utils.Tensor("waveform", values)])
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
LIMITS = Limits(in_flight=4, request_bytes=4 * 2**20)
INFER = "/v2/models/waiting/infer"
Answer = tuple[int, str, dict[str, str]]


class House(NamedTuple):
    """A front, and what it stands before."""

    front: Front
    triton: TritonServer
    http_url: str
    grpc_url: str
    metrics_url: str
    go: Path
    log: Path

    def ask(self, method: str, path: str, body: bytes | None = None, url: str = "", **headers: str) -> Answer:
        connection = http.client.HTTPConnection(url or self.http_url, timeout=60.0)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response.status, response.read().decode(), {k.lower(): v for k, v in response.headers.items()}
        finally:
            connection.close()

    def refusals(self) -> dict[str, int]:
        """Return how many calls were refused, by reason of ours or Envoy's details."""
        found: dict[str, int] = {}
        for line in self.ask("GET", "/front/metrics", url=self.metrics_url)[1].splitlines():
            if line.startswith("envoy_sifigan_front_refusals{"):
                labels, _, count = line.partition("{")[2].rpartition("} ")
                tags = dict(part.split("=", 1) for part in labels.split(",", 2))
                reason = tags["reason"].strip('"') or tags["details"].strip('"')
                found[reason] = found.get(reason, 0) + int(count)
        return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("front")
    go = folder / "go"
    write_python_model(folder / "models", "waiting", WAITING.replace("GO", repr(str(go))))
    lease = PortLease("127.0.0.1", {"HTTP": 0, "gRPC": 0, "metrics": 0})
    with TritonServer(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as triton:
        lease.acquire()
        inner = Ports(*(int(url.rpartition(":")[2]) for url in (triton.http_url, triton.grpc_url, triton.metrics_url)))
        ports = Ports(lease["HTTP"], lease["gRPC"], lease["metrics"])
        front = Front("127.0.0.1", ports, (inner, inner), LIMITS, folder / "front.log")
        try:
            urls = (lease.url("HTTP"), lease.url("gRPC"), lease.url("metrics"))
            yield House(front, triton, *urls, go, folder / "front.log")
        finally:
            front.stop()
            lease.release()


@pytest.fixture
def opened(house: House) -> Iterator[House]:
    house.front.open()
    house.go.unlink(missing_ok=True)
    yield house
    house.go.touch()
    house.front.close()


@pytest.fixture
def grpc(house: House) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(house.grpc_url) as client:
        yield client


def features(first: float, count: int = 4) -> bytes:
    """Return a request in JSON; the model answers it at once if `first` is negative."""
    tensor = {"name": "f0", "datatype": "FP32", "shape": [count], "data": [first, *([0.0] * (count - 1))]}
    return json.dumps({"inputs": [tensor]}).encode()


def infer(client: tritonclient.grpc.InferenceServerClient, first: float, count: int = 4) -> np.ndarray:
    tensor = tritonclient.grpc.InferInput("f0", [count], "FP32")
    tensor.set_data_from_numpy(np.array([first] + [0.0] * (count - 1), np.float32))
    return client.infer("waiting", [tensor]).as_numpy("waveform")


def in_background(call: Callable[[], object], count: int) -> list[threading.Thread]:
    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_is_closed_until_it_is_opened(house: House, grpc: tritonclient.grpc.InferenceServerClient) -> None:
    assert house.ask("GET", "/v2/health/live")[0] == 200
    for method, path, body in (("GET", "/v2/health/ready", None), ("POST", INFER, features(-1))):
        status, text, headers = house.ask(method, path, body)
        assert (status, headers["retry-after"]) == (503, "1")
        assert "the server is starting or stopping: try again (request " in json.loads(text)["error"]
    assert house.ask("GET", "/v2/models/waiting/ready")[0] == 503
    for call in (lambda: infer(grpc, -1), grpc.is_server_ready, lambda: grpc.is_model_ready("waiting")):
        with pytest.raises(InferenceServerException, match=r"UNAVAILABLE.*starting or stopping"):
            call()
    assert grpc.is_server_live()
    house.front.open()
    assert house.ask("GET", "/v2/health/ready")[0] == 200
    house.front.close()
    assert house.ask("GET", "/v2/health/ready")[0] == 503


def test_calls_pass_as_they_are(opened: House, grpc: tritonclient.grpc.InferenceServerClient) -> None:
    status, text, _ = opened.ask("POST", INFER, features(-2))
    assert (status, json.loads(text)["outputs"][0]["data"]) == (200, [-2.0, 0.0, 0.0, 0.0])
    assert infer(grpc, -3).tolist() == [-3.0, 0.0, 0.0, 0.0]
    assert opened.ask("POST", "/v2/models/waiting/versions/1/infer", features(-2))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v2",
        "/v2/models/stats",
        "/v2/models/waiting",
        "/v2/models/waiting/config",
        "/v2/models/waiting/versions/1/stats",
    ],
)
def test_what_clients_may_know(opened: House, path: str) -> None:
    assert opened.ask("GET", path)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/metrics",
        "/v2/repository/index",
        "/v2/repository/models/waiting/load",
        "/v2/logging",
        "/v2/trace/setting",
        "/v2/models/waiting/trace/setting",
        "/v2/systemsharedmemory/status",
        "/v2/models/waiting/generate",
        "/v2/models/waiting/infer/../../../repository/index",
        "//v2/logging",
    ],
)
def test_all_else_is_closed(opened: House, path: str) -> None:
    for method in ("GET", "POST"):
        status, text, _ = opened.ask(method, path, b"{}" if method == "POST" else None)
        assert (status, "closed" in json.loads(text)["error"]) == (403, True)
    assert opened.ask("GET", "/v2/models%2fwaiting")[0] == 400
    assert opened.ask("POST", f"/v2/models/{'a' * 5000}/infer", b"{}")[0] == 414


def test_all_else_is_closed_over_grpc(opened: House, grpc: tritonclient.grpc.InferenceServerClient) -> None:
    assert grpc.is_server_ready()
    assert grpc.is_model_ready("waiting")
    for call in (
        grpc.get_model_repository_index,
        grpc.get_log_settings,
        grpc.get_system_shared_memory_status,
        lambda: grpc.load_model("waiting"),
    ):
        with pytest.raises(InferenceServerException, match=r"PERMISSION_DENIED.*closed"):
            call()
    errors: list[object] = []
    grpc.start_stream(lambda result, error: errors.append(error))
    until(lambda: bool(errors))
    grpc.stop_stream()
    assert "PERMISSION_DENIED" in str(errors[0])


SHAPES = (
    "[4611686018427387904]",
    "[4294967296,4294967296]",
    "[65536, 65536]",
    "[-1]",
    "[1e30]",
    "[1,1,1,1,1]",
    "[[4]]",
)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        *((b'{"inputs":[{"name":"f0","datatype":"FP32","shape":%s,"data":[]}]}' % s.encode(), "shape") for s in SHAPES),
        (b'{"inputs":[{"name":"f0","datatype":"FP32","shape":4,"data":[]}]}', "shape"),
        (b'{"inputs":[{"shape" : [1],"shape"\n:[99999999]}]}', "shape"),
        (b'{"a":"[[[[[[[[[[","inputs":[{"shape":[99999999]}]}', "shape"),
        (b'{"inputs":[{"name":"f0","datatype":"FP32","sh\\u0061pe":[4611686018427387904],"data":[]}]}', "json_escape"),
        (b'{"inputs":[{"shape":[1' + b" " * 20_000 + b"x]}]}", "shape"),
        (b"{" + b"[]," * 300_000, "json_size"),
        (b"[" * 100_000, "json_depth"),
        (b'{"a":' * 100_000, "json_depth"),
        (b'{"inputs', "json_malformed"),
        (b'{"inputs":[]}\0', "json_malformed"),
    ],
    ids=lambda value: value[:60].decode("latin-1") if isinstance(value, bytes) else value,
)
def test_json_that_would_harm_triton(opened: House, body: bytes, reason: str) -> None:
    before = opened.refusals().get(reason, 0)
    for length in ({}, {"Inference_Header_Content_Length": str(len(body))}):
        status, text, _ = opened.ask("POST", INFER, body, **length)
        assert (status, "(request " in json.loads(text)["error"]) == (400, True)
    assert opened.refusals()[reason] == before + 2
    assert opened.triton.exit_status is None
    assert opened.ask("POST", INFER, features(-1))[0] == 200


@pytest.mark.parametrize("length", ["-1", "x", "99", "99999999999999999999"])
def test_a_wrong_length_of_the_json(opened: House, length: str) -> None:
    status, text, _ = opened.ask("POST", INFER, b'{"inputs":[]}', Inference_Header_Content_Length=length)
    assert (status, "is wrong for a body of 13 bytes" in text) == (400, True)


def varint(value: int) -> bytes:
    value %= 2**64
    parts = []
    while value > 127:
        parts.append(value % 128 + 128)
        value //= 128
    return bytes([*parts, value])


def block(field: int, data: bytes) -> bytes:
    return varint(field * 8 + 2) + varint(len(data)) + data


def message(*shapes: bytes, rest: bytes = b"") -> bytes:
    """Return a ModelInferRequest with an input of these fields of a shape."""
    tensor = block(1, b"f0") + block(2, b"FP32") + b"".join(shapes)
    return block(1, b"waiting") + block(5, tensor) + rest


def send_message(house: House, data: bytes) -> grpc_library.StatusCode:
    with grpc_library.insecure_channel(house.grpc_url) as channel:
        try:
            channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(data, timeout=20.0)
        except grpc_library.RpcError as error:
            return error.code()
    return grpc_library.StatusCode.OK


@pytest.mark.parametrize(
    "data",
    [
        message(block(3, varint(2**62))),
        message(block(3, varint(-(2**63)))),
        message(block(3, varint(2**62) + varint(40))),
        message(block(3, varint(2**31) + varint(2**33))),
        message(b"\x18" + varint(2**62)),
        message(b"\x18" + varint(65536), b"\x18" + varint(65536)),
        message(block(3, varint(65536)), block(3, varint(65536))),
        message(block(3, varint(1) * 5)),
        message(b"\x18" + b"\xff" * 3),
        message(rest=b"\x3a\x7f"),
        message(rest=b"\x0b"),
        message(rest=b"\x38\x01" * 5000),
        message(rest=b"\x38" + b"\xff" * 100_000),
        message(rest=b"\xaa\x80\x80\x80\x10" + block(3, varint(2**62))[:0] + varint(20) + block(1, b"f0") * 5),
        message(b"\x9a\x80\x80\x80\x10\x09" + varint(2**62)),
        message(rest=b"\x02\x01a"),
    ],
    ids=lambda data: data[20:60].hex(),
)
def test_messages_that_would_harm_triton(opened: House, data: bytes) -> None:
    assert send_message(opened, data) is grpc_library.StatusCode.INVALID_ARGUMENT
    values = np.array([-1.0, 2.0], np.float32).tobytes()
    for shape in (block(3, varint(2)), b"\x18\x02"):
        sound = message(
            shape, rest=block(7, values) + block(4, block(1, b"timeout") + block(2, b"\x10" + varint(2**63)))
        )
        assert send_message(opened, sound) is grpc_library.StatusCode.OK
    assert opened.triton.exit_status is None


def test_json_that_triton_cannot_read_is_the_fault_of_the_caller(opened: House) -> None:
    for body in (
        b"{}",
        b"{",
        b"\xff\xfe",
        b'{"inputs":[{"name":"f0","datatype":"FP32","shape":[3],"data":[1,2]}]}',
    ):
        assert opened.ask("POST", INFER, body)[0] == 400


def test_where_the_look_itself_fails_nothing_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, house: House
) -> None:
    """Envoy lets a call pass when a script of its has failed."""
    broken = config._script("nil").replace(
        "local at, depth, tokens = 1, 0, 0", "local at, depth, tokens = nil + 1, 0, 0"
    )
    monkeypatch.setattr(config, "_script", lambda most_values: broken)
    lease = PortLease("127.0.0.1", {"HTTP": 0, "gRPC": 0, "metrics": 0})
    lease.acquire()
    inner = Ports(*(int(url.rpartition(":")[2]) for url in (house.triton.http_url, house.triton.grpc_url, "x:1")))
    front = Front(
        "127.0.0.1", Ports(lease["HTTP"], lease["gRPC"], lease["metrics"]), (inner, inner), LIMITS, tmp_path / "log"
    )
    try:
        front.open()
        assert house.ask("POST", INFER, features(-1), url=lease.url("HTTP"))[0] == 500
    finally:
        front.stop()
        lease.release()


def test_large_and_packed_requests(opened: House, grpc: tritonclient.grpc.InferenceServerClient) -> None:
    tensor = tritonclient.grpc.InferInput("f0", [2_000_000], "FP32")
    tensor.set_data_from_numpy(np.full(2_000_000, -1, np.float32))
    with pytest.raises(
        InferenceServerException, match=r"RESOURCE_EXHAUSTED.*too large, expected at most 4,194,304 bytes"
    ):
        grpc.infer("waiting", [tensor])
    with pytest.raises(InferenceServerException, match=r"UNIMPLEMENTED.*may not be compressed"):
        grpc.infer("waiting", [tensor], compression_algorithm="gzip")
    assert opened.ask("POST", INFER, b"x" * 100, Content_Encoding="gzip")[0] == 415
    with socket.create_connection(tuple(opened.http_url.split(":"))) as sender:  # http.client sees only the closed door
        sender.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" % INFER.encode())
        for _ in range(5):
            sender.sendall(b" " * 2**20)
        assert b" 413 " in sender.recv(100)


def test_our_client_is_told_that_a_request_is_too_large(opened: House) -> None:
    """Also while it still sends."""
    f0, mcep, bap = np.ones(400_000), np.zeros((400_000, 40)), np.zeros((400_000, 3))
    for url in (opened.http_url, f"grpc://{opened.grpc_url}"):
        with SifiganClient(url, "waiting", retries=0) as client:
            for _ in range(2):
                with pytest.raises(SynthesisError, match="too large"):
                    client.synthesize(f0, mcep, bap)


def test_no_other_call_has_a_large_body(opened: House) -> None:
    for path in ("/v2/models/waiting", "/v2/health/ready", "/v2"):
        assert opened.ask("POST", path, b"x" * 100_000)[0] == 413
        assert opened.ask("POST", path, b"x" * 100, Content_Encoding="gzip")[0] == 415
    with grpc_library.insecure_channel(opened.grpc_url) as channel, pytest.raises(grpc_library.RpcError) as refused:
        channel.unary_unary("/inference.GRPCInferenceService/ServerReady")(b"x" * 100_000, timeout=20.0)
    assert refused.value.code() is grpc_library.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_more_calls_than_it_takes_are_refused_at_once(
    opened: House, grpc: tritonclient.grpc.InferenceServerClient, protocol: str
) -> None:
    done: list[object] = []

    def call(first: float = 1.0) -> object:
        if protocol == "grpc":
            return infer(grpc, first)
        status, text, headers = opened.ask("POST", INFER, features(first))
        if status != 200:
            raise InferenceServerException(f"{headers['retry-after']} {text}", str(status))
        return text

    waiting = in_background(lambda: done.append(call()), LIMITS.in_flight)
    until(lambda: opened.front.in_flight() == LIMITS.in_flight)
    with pytest.raises(InferenceServerException, match=r"503|UNAVAILABLE") as refused:
        call()
    assert "as many calls in flight as it takes (4, and 1 with more than" in str(refused.value)
    assert done == []  # those who were let in are still waiting
    opened.go.touch()
    for thread in waiting:
        thread.join()
    assert len(done) == LIMITS.in_flight
    assert call(-1.0) is not None
    assert opened.refusals()["upstream_reset_before_response_started{overflow}"] >= 1


def test_long_calls_keep_no_short_one_out(opened: House, grpc: tritonclient.grpc.InferenceServerClient) -> None:
    count = LONG_BYTES // 4 + 1000
    waiting = in_background(lambda: infer(grpc, 1.0, count), LIMITS.long_in_flight)
    until(lambda: opened.front.in_flight() == LIMITS.long_in_flight)
    with pytest.raises(InferenceServerException, match="as many calls in flight"):
        infer(grpc, -1.0, count)
    waiting += in_background(lambda: infer(grpc, 1.0), LIMITS.in_flight)
    until(lambda: opened.front.in_flight() == LIMITS.in_flight + LIMITS.long_in_flight)
    opened.go.touch()
    for thread in waiting:
        thread.join()


def test_idle_and_slow_callers_keep_nobody_out(opened: House) -> None:
    host, port = opened.http_url.split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(500)]
    try:
        for connection in idle[:100]:  # these have begun a call and do not go on
            connection.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{" % INFER.encode())
        assert opened.ask("POST", INFER, features(-1))[0] == 200
    finally:
        for connection in idle:
            connection.close()


def test_who_does_not_read_its_answer_keeps_no_place(opened: House) -> None:
    """A stop waits for it, as long as the grace allows."""
    host, port = opened.http_url.split(":")
    values = np.random.default_rng(0).uniform(-1.0, -0.5, 190_000).astype(np.float32)
    tensor = {
        "name": "f0",
        "datatype": "FP32",
        "shape": [values.size],
        "parameters": {"binary_data_size": values.nbytes},
    }
    header = json.dumps({"inputs": [tensor]}).encode()  # the answer is JSON: 3.8 MB
    body = header + values.tobytes()
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    readers = []
    for _ in range(LIMITS.in_flight + 1):
        readers.append(socket.socket())
        readers[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        readers[-1].connect((host, int(port)))
        readers[-1].sendall(f"{head}Inference-Header-Content-Length: {len(header)}\r\n\r\n".encode() + body)
        until(lambda: opened.front.in_flight() == 1)
        until(lambda: opened.front.in_flight() == 0)
    try:
        assert opened.front.unread() > 2**16
        assert opened.ask("POST", INFER, features(-1))[0] == 200
    finally:
        for reader in readers:
            reader.close()
    until(lambda: opened.front.unread() == 0)


def test_each_refusal_leaves_a_line(opened: House) -> None:
    text = json.loads(opened.ask("POST", "/v2/logging", b"{}")[1])["error"]
    request = text.rpartition("(request ")[2].rstrip(")")
    until(lambda: request in opened.log.read_text())
    (line,) = [json.loads(line) for line in opened.log.read_text().splitlines() if request in line]
    assert (line["status"], line["path"], line["where"]) == (403, "/v2/logging", "front/http")


def test_an_envoy_that_does_not_start(tmp_path: Path, house: House) -> None:
    taken = Ports(*(int(url.rpartition(":")[2]) for url in (house.http_url, house.grpc_url, house.metrics_url)))
    with pytest.raises(ServerError, match=r"the proxy before Triton did not start: .*[Aa]ddress already in use"):
        Front("127.0.0.1", taken, (taken, taken), LIMITS, tmp_path / "log")

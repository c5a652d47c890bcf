"""Servers of HTTP and gRPC on real sockets that fail as they are told, for tests of what the client does then."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

SAMPLES = np.arange(8, dtype=np.float32)
HEADER = json.dumps({"outputs": [{"name": "waveform", "shape": [8], "datatype": "FP32"}]}).encode()
Reply = bytes | None
"""What a request gets: bytes, or no answer as long as the client waits; after a part of `GOOD` the connection ends."""


def answer(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


GOOD = answer("200 OK", HEADER + SAMPLES.tobytes(), f"Inference-Header-Content-Length: {len(HEADER)}")
BUSY = answer("503 Service Unavailable", b'{"error": "no room"}')
CUT = b""
SILENT = None


def read_request(received: BinaryIO) -> bytes:
    """Read a request to its end; return its first line and body, nothing if the client has closed the connection."""
    lines = list(iter(received.readline, b"\r\n")) if received.peek(1) else [b""]  # type: ignore[attr-defined]
    body = received.read(sum(int(line.split(b":")[1]) for line in lines if line.startswith(b"Content-Length")))
    return lines[0] + body


class HttpStub:
    """A server that takes any number of connections at once and asks `reply` what the n-th inference gets."""

    def __init__(self, listener: socket.socket, reply: Callable[[int], Reply]) -> None:
        self._listener, self._reply, self._lock = listener, reply, threading.Lock()
        self.requests: list[bytes] = []
        self.gone = threading.Event()
        """Set as soon as a client has left a request that gets no answer."""
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        with suppress(OSError):  # the listener has been closed
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as received, suppress(OSError):
            while request := read_request(received):
                if request.startswith(b"GET /v2/health"):
                    peer.sendall(answer("200 OK", b""))  # the client asks which protocol is spoken
                    continue
                with self._lock:
                    self.requests.append(request)
                    reply = self._reply(len(self.requests) - 1)
                if reply is SILENT:
                    assert not received.read(1)
                    self.gone.set()
                peer.sendall(reply or CUT)
                if reply != GOOD and GOOD.startswith(reply or CUT):
                    return


@contextmanager
def http_stub(reply: Callable[[int], Reply]) -> Iterator[HttpStub]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield HttpStub(listener, reply)
        listener.shutdown(socket.SHUT_RDWR)


class GrpcStub(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server that asks `reply` what the n-th inference gets: a refusal with a `retry-after`, or audio for None."""

    def __init__(self, reply: Callable[[int], tuple[grpc.StatusCode, str | None] | None]) -> None:
        self._reply, self._lock, self.asked, self.url = reply, threading.Lock(), 0, ""
        self.left_s: list[float] = []
        """What was left until each request's deadline."""

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 (the protocol's name)
        with self._lock:
            self.asked += 1
            self.left_s.append(request.parameters["timeout"].int64_param / 1e6)
            refused = self._reply(self.asked - 1)
        if refused is not None:
            code, retry_after = refused
            if retry_after is not None:
                context.set_trailing_metadata([("retry-after", retry_after)])
            context.abort(code, "no room")
        output = {"name": "waveform", "datatype": "FP32", "shape": [8]}
        return service_pb2.ModelInferResponse(outputs=[output], raw_output_contents=[SAMPLES.tobytes()])


@contextmanager
def grpc_stub(reply: Callable[[int], tuple[grpc.StatusCode, str | None] | None]) -> Iterator[GrpcStub]:
    server, stub = grpc.server(ThreadPoolExecutor(16)), GrpcStub(reply)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(stub, server)
    stub.url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield stub
    server.stop(0.0).wait(10.0)


@contextmanager
def nobody(scheme: str = "") -> Iterator[str]:
    """Yield the address of a port that refuses connections."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound but not listening
        yield f"{scheme}127.0.0.1:{reserved.getsockname()[1]}"

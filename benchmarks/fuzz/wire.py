"""Bytes to a server and what comes back: over sockets, so that nothing on this side refuses to send them."""

from __future__ import annotations

import http.client
import io
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

SERVICE = "/inference.GRPCInferenceService/"
LIMIT_S = 20.0
"""After this a request counts as hanging."""
PIECE = 2**16


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: str
    """`HTTP 400`, `gRPC INVALID_ARGUMENT`; or `closed`, `hang`, `no server` where no answer came."""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    """The message of an error."""
    seconds: float = 0.0


@dataclass(frozen=True)
class HttpBytes:
    """All that a client sends on a connection over HTTP."""

    parts: tuple[bytes, ...]
    answers: int = 1
    """How many answers it waits for; the last one counts."""
    ends_after_s: float | None = None
    """It says that no more comes, if it has no answer by then."""
    method: str = "POST"

    def send(self, target: Target) -> Answer:
        """Send it to the HTTP port."""
        with socket.create_connection(target.http, LIMIT_S) as connection:
            _send(connection, self.parts, whole=self.answers > 1)
            if self.ends_after_s is not None and not _readable(connection, self.ends_after_s):
                connection.shutdown(socket.SHUT_WR)
            answer, received = Answer("closed"), _Received(connection)
            for _ in range(self.answers):
                response = http.client.HTTPResponse(received, method=self.method)  # type: ignore[arg-type]
                try:
                    response.begin()
                    body = response.read()
                except (http.client.HTTPException, OSError) as error:
                    if isinstance(error, TimeoutError):
                        raise
                    return Answer("closed", text=repr(error))
                text = "" if response.status < 400 else body[:300].decode("utf-8", "replace")
                answer = Answer(f"HTTP {response.status}", body, {k.lower(): v for k, v in response.getheaders()}, text)
            return answer


class _Received:
    """What comes on a connection, for one answer after the other: `http.client` closes its file behind each."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb")
        self._file.close = lambda: None  # type: ignore[method-assign]

    def makefile(self, mode: str) -> io.BufferedIOBase:
        """Return the one file."""
        return self._file


@dataclass(frozen=True)
class GrpcMessages:
    """A call over gRPC, its messages as bytes."""

    method: str
    messages: tuple[bytes, ...]
    metadata: tuple[tuple[str, str], ...] = ()
    compression: grpc.Compression | None = None
    streams: bool = False

    def send(self, target: Target) -> Answer:
        """Send it to the gRPC port."""
        if not self.metadata:
            return self._send(target.channel)
        with target.channel_of_its_own() as channel:  # what closes it must not take others along
            return self._send(channel)

    def _send(self, channel: grpc.Channel) -> Answer:
        options = {"timeout": LIMIT_S, "metadata": self.metadata, "compression": self.compression}
        try:
            if self.streams:
                got = list(channel.stream_stream(SERVICE + self.method)(iter(self.messages), **options))
                return Answer("gRPC OK", got[-1] if got else b"")
            return Answer("gRPC OK", channel.unary_unary(SERVICE + self.method)(self.messages[0], **options))
        except grpc.RpcError as error:
            return _failed(error.code().name, str(error.details()))


@dataclass(frozen=True)
class RawBytes:
    """What is no gRPC, to the gRPC port."""

    parts: tuple[bytes, ...]
    wait_s: float = 0.3

    def send(self, target: Target) -> Answer:
        """Send it and look whether the connection is closed, or silent."""
        got = b""
        with socket.create_connection(target.grpc, LIMIT_S) as connection:
            _send(connection, self.parts)
            connection.settimeout(self.wait_s)
            try:
                while piece := connection.recv(PIECE):
                    got += piece
            except TimeoutError:
                return Answer("silent", got)
            except OSError:
                pass
        return Answer("closed", got)


Wire = HttpBytes | GrpcMessages | RawBytes


class Target:
    """Where to send to."""

    def __init__(self, http_url: str, grpc_url: str) -> None:
        """Take the two addresses, `host:port`."""
        self.http_url, self.grpc_url = http_url, grpc_url
        self.connect()

    def connect(self) -> None:
        """Open a new channel: one that has seen its server die waits before it tries again."""
        self.http, self.grpc = _split(self.http_url), _split(self.grpc_url)
        self.channel = self.channel_of_its_own()

    def channel_of_its_own(self) -> grpc.Channel:
        """Return a channel that shares its connection with no other."""
        unlimited = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
        sizes = (*unlimited, ("grpc.max_metadata_size", 2**24))
        return grpc.insecure_channel(self.grpc_url, (*sizes, ("grpc.use_local_subchannel_pool", 1)))

    def send(self, wire: Wire) -> Answer:
        """Send and return the answer, whatever it is."""
        started = time.perf_counter()
        try:
            answer = wire.send(self)
        except ConnectionRefusedError:
            answer = Answer("no server")
        except TimeoutError:
            answer = Answer("hang")
        except OSError as error:
            answer = Answer("closed", text=repr(error))
        return Answer(answer.status, answer.body, answer.headers, answer.text, time.perf_counter() - started)


def _split(url: str) -> tuple[str, int]:
    host, _, port = url.rpartition(":")
    return host.strip("[]"), int(port)


def _readable(connection: socket.socket, wait_s: float = 0.0) -> bool:
    """Tell whether something has come, or the connection has ended."""
    return bool(select.select([connection], [], [], wait_s)[0])


def _answered(connection: socket.socket) -> bool:
    """Tell whether an answer has come, other than the request to go on."""
    return _readable(connection) and b" 100 " not in connection.recv(15, socket.MSG_PEEK)


def _send(connection: socket.socket, parts: Sequence[bytes], whole: bool = False) -> None:
    """Send; unless `whole`, as long as nothing comes back: a server that refuses early may close."""
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                if not whole and _answered(connection):
                    return
                view = view[connection.send(view[:PIECE]) :]
    except (BrokenPipeError, ConnectionResetError):
        pass  # what was answered before that can still be read


def _failed(code: str, details: str) -> Answer:
    if code == "DEADLINE_EXCEEDED" and "Deadline Exceeded" in details:
        return Answer("hang", text=details)
    if code == "UNAVAILABLE" and ("failed to connect" in details or "Connection refused" in details):
        return Answer("no server", text=details)
    if code == "UNAVAILABLE" and ("Socket closed" in details or "recvmsg" in details or "reset" in details.lower()):
        return Answer("closed", text=details)
    if "RST_STREAM" in details:
        return Answer("closed", text=details)
    return Answer(f"gRPC {code}", text=details[:300])

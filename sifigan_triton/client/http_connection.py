"""One HTTP connection, whose requests each end at a deadline, however slowly the server answers.

`socket.settimeout` alone is a limit of each `recv`: a server that sends a byte now and then would never reach it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import Any

LONGEST_ANSWER = (1 << 31) - 1
"""Bytes; what gRPC carries, too: six hours of audio. No server makes the client take more memory."""
_PIECE = 1 << 20


class DeadlineSocket(socket.socket):
    """A socket that raises TimeoutError after `deadline`, a time of `time.monotonic`."""

    deadline = 0.0

    def connect(self, address: Any) -> None:
        """Connect."""
        self._hurry()
        super().connect(address)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send everything; its time limit is one for the whole."""
        self._hurry()
        super().sendall(data, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive what is there; files made of the socket read through this."""
        self._hurry()
        return super().recv_into(buffer, nbytes, flags)

    def _hurry(self) -> None:
        left_s = self.deadline - time.monotonic()
        if left_s <= 0.0:
            raise TimeoutError
        self.settimeout(left_s)


class DeadlineConnection(HTTPConnection):
    """A connection that is opened by its first request, and again by the next one after it was closed."""

    sock: DeadlineSocket | None
    _deadline = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the next request meets a connection of an earlier one."""
        return self.sock is not None

    def exchange(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], deadline: float
    ) -> tuple[HTTPResponse, bytes]:
        """Send a request; return the response, for its status and headers, and its body.

        Raises:
            TimeoutError: if the answer is not complete at `deadline`, a time of `time.monotonic`.
            OSError: if there is no connection.
            HTTPException: if the answer is no HTTP, breaks off, or is longer than any answer of Triton.

        """
        self._deadline = deadline
        if self.sock is not None:
            self.sock.deadline = deadline
        self.request(method, path, body, dict(headers))
        response = self.getresponse()
        with response:
            return response, _body(response)

    def connect(self) -> None:
        """Connect to the first of the host's addresses that answers; all of them share the deadline."""
        failure: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            try:
                self.sock = DeadlineSocket(family, kind, protocol)
                self.sock.deadline = self._deadline
                self.sock.connect(address)
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                self.close()
                failure = error
            else:
                return
        raise failure or OSError(f"{self.host} has no address")


def _body(response: HTTPResponse) -> bytes:
    """Read what was really sent: memory is never reserved for what a server only announces."""
    pieces: list[bytes] = []
    size = 0
    while size + (response.length or 0) <= LONGEST_ANSWER and (piece := response.read1(_PIECE)):
        pieces.append(piece)
        size += len(piece)
    size += response.length or 0
    if size > LONGEST_ANSWER:
        raise HTTPException(f"an answer of {size:,} bytes or more, expected at most {LONGEST_ANSWER:,}")
    data = b"".join(pieces)
    if response.length:
        raise IncompleteRead(data, response.length)
    return data

"""One HTTP connection, whose requests each end at a deadline, however slowly the server answers.

`socket.settimeout` alone is a limit of each `recv`: a server that sends a byte now and then would never reach it.
"""

from __future__ import annotations

import http.client
import socket
import time
from http.client import HTTPConnection, IncompleteRead
from typing import Any

from sifigan_triton.client import http_messages
from sifigan_triton.client.http_messages import HttpRequest, HttpResponse

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

    def is_usable(self) -> bool:
        """Whether the next request opens a connection, or meets one that the server has not closed meanwhile."""
        if self.sock is None:
            return True
        try:
            self.sock.setblocking(False)
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True  # nothing has come, not even an end
        except OSError:
            pass
        return False

    def exchange(self, request: HttpRequest, deadline: float) -> HttpResponse:
        """Send a request; return what comes back.

        Raises:
            TimeoutError: if the answer is not complete at `deadline`, a time of `time.monotonic`.
            OSError: if there is no connection.
            HTTPException: if the answer is no HTTP, breaks off, or is longer than any answer of Triton.

        """
        self._deadline = deadline
        if self.sock is not None:
            self.sock.deadline = deadline
        early = False
        try:
            self.request(request.method, request.path, request.body, dict(request.headers))
            response = self.getresponse()
        except (BrokenPipeError, ConnectionResetError) as error:
            response, early = self._early_answer(error), True
        with response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            answer = HttpResponse(response.status, headers, _body(response))
        if early:
            self.close()  # what was left of the request is on its way
        return answer

    def _early_answer(self, error: OSError) -> http.client.HTTPResponse:
        """Return the answer of a server that has refused before all of the request was there, or raise the error."""
        if self.sock is None:
            raise error
        response = http.client.HTTPResponse(self.sock)
        try:
            response.begin()
        except (OSError, http.client.HTTPException):
            raise error from None
        return response

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


def _body(response: http.client.HTTPResponse) -> bytes:
    """Read what was really sent: memory is never reserved for what a server only announces."""
    pieces: list[bytes] = []
    size = 0
    while size + (response.length or 0) <= http_messages.LONGEST_ANSWER and (piece := response.read1(_PIECE)):
        pieces.append(piece)
        size += len(piece)
    size += response.length or 0
    if size > http_messages.LONGEST_ANSWER:
        raise http_messages.too_long(size)
    data = b"".join(pieces)
    if response.length or not (data or response.chunked or response.length == 0):  # a head that broke off has no length
        raise IncompleteRead(data, response.length)
    return data

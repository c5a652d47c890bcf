"""Triton's HTTP protocol over the standard library.

`tritonclient.http` is not used: it stands on gevent, whose connections belong to the thread that opened them, and a
client that two threads share hangs for ever. Here every request takes an idle connection or opens one, whatever its
thread. Each is sent once: `retry` decides what is sent again.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import Any

import numpy.typing as npt

from sifigan_triton.client import http_messages
from sifigan_triton.client.address import Address
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.http_connection import DeadlineConnection
from sifigan_triton.client.http_messages import HttpRequest, HttpResponse
from sifigan_triton.client.step_statistics import StepStatistics
from sifigan_triton.client.transport import LET_GO_TIMEOUT_S, Answer, Place


class HttpTransport:
    """Connections to one server, as many as requests are under way at once; they are kept open and used again."""

    def __init__(self, address: Address) -> None:
        """Prepare; nothing is sent yet."""
        self._address = address
        self._idle: deque[DeadlineConnection] = deque()
        self._closed = False

    def infer(
        self,
        model: str,
        tensors: Mapping[str, npt.NDArray[Any]],
        output: str,
        shared: Mapping[str, Place],
        deadline: Deadline,
    ) -> Answer:
        """Return one output of a model."""
        request = http_messages.infer_request(model, tensors, output, shared, deadline)
        response = self._ask(self._take(), request, deadline, model)
        return http_messages.infer_answer(self._address, response, output, shared.get(output))

    def statistics(self, deadline: Deadline) -> dict[str, StepStatistics]:
        """Return Triton's statistics of every model, by model name."""
        response = self._ask(self._take(), http_messages.STATISTICS, deadline)
        return http_messages.statistics_answer(self._address, response)

    def parameters(self, model: str, deadline: Deadline) -> dict[str, str]:
        """Return the parameters in a model's configuration."""
        response = self._ask(self._take(), http_messages.parameters_request(model), deadline, model)
        return http_messages.parameters_answer(self._address, response)

    def register_system_shared_memory(self, name: str, key: str, byte_size: int, deadline: Deadline) -> None:
        """Let the server open memory of the machine."""
        fields = {"key": key, "offset": 0, "byte_size": byte_size}
        self._change(f"/v2/systemsharedmemory/region/{name}/register", deadline, fields)

    def register_cuda_shared_memory(
        self, name: str, raw_handle: bytes, device_id: int, byte_size: int, deadline: Deadline
    ) -> None:
        """Let the server open memory of a GPU; the handle is in base 64."""
        fields = {"raw_handle": {"b64": raw_handle.decode()}, "device_id": device_id, "byte_size": byte_size}
        self._change(f"/v2/cudasharedmemory/region/{name}/register", deadline, fields)

    def unregister_system_shared_memory(self, name: str, deadline: Deadline) -> None:
        """Let the server close memory of the machine."""
        self._change(f"/v2/systemsharedmemory/region/{name}/unregister", deadline.at_most(LET_GO_TIMEOUT_S))

    def unregister_cuda_shared_memory(self, name: str, deadline: Deadline) -> None:
        """Let the server close memory of a GPU."""
        self._change(f"/v2/cudasharedmemory/region/{name}/unregister", deadline.at_most(LET_GO_TIMEOUT_S))

    def close(self) -> None:
        """Close the connections, those of requests which are still under way as soon as they end."""
        self._closed = True
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                self._idle.pop().close()

    def _change(self, path: str, deadline: Deadline, fields: Mapping[str, Any] | None = None) -> None:
        """Ask for what may not be lost: over a fresh connection, for the server may be closing an idle one."""
        connection = self._take()
        connection.close()  # the request opens it again
        body = b"" if fields is None else json.dumps(fields).encode()
        self._ask(connection, HttpRequest("POST", path, body), deadline)

    def _ask(
        self, connection: DeadlineConnection, request: HttpRequest, deadline: Deadline, model: str = ""
    ) -> HttpResponse:
        """Send a request; return its answer, or raise what it stands for if it is none."""
        try:
            response = connection.exchange(request, deadline.at)
        except TimeoutError:
            connection.close()
            raise self._address.silent(deadline.timeout_s) from None
        except (OSError, HTTPException, UnicodeError) as error:  # UnicodeError: a host that cannot be one
            connection.close()
            raise http_messages.no_answer(self._address, error) from None
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        if self._closed:  # while the request was under way
            self.close()
        if response.status != 200:
            raise http_messages.refusal(self._address, response, model)
        return response

    def _take(self) -> DeadlineConnection:
        """Return an idle connection that the server has not closed meanwhile, or a new one that is not open yet."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return DeadlineConnection(self._address.host, self._address.port)
            if connection.is_usable():
                return connection
            connection.close()

"""Triton's HTTP protocol with binary tensors, over the standard library.

`tritonclient.http` is not used: it stands on gevent, whose connections belong to the thread that opened them, and a
client that two threads share hangs for ever. Here every request takes an idle connection or opens one, whatever its
thread.

Source: the KServe protocol, version 2, and Triton's extensions of it for binary data, shared memory and statistics.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import Any
from urllib.parse import quote

import numpy.typing as npt

from sifigan_triton.client.address import Address
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.errors import ServerUnavailableError, SynthesisError, SynthesisTimeoutError
from sifigan_triton.client.http_connection import DeadlineConnection
from sifigan_triton.client.step_statistics import StepStatistics, read_statistics
from sifigan_triton.client.transport import (
    DEADLINE_PASSED,
    LET_GO_TIMEOUT_S,
    Answer,
    Place,
    data_type,
    read_output,
)

HEADER_LENGTH = "Inference-Header-Content-Length"
"""How many bytes of JSON stand before the tensors."""
Message = tuple[bytes, dict[str, str]]
"""Body and headers of a request."""
MALFORMED = (ValueError, LookupError, TypeError, RecursionError)
"""What reading an answer raises that is not Triton's."""


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
        inputs = [
            {"name": name, "shape": values.shape, "datatype": data_type(values)}
            | {"parameters": _place(shared[name]) if name in shared else {"binary_data_size": values.nbytes}}
            for name, values in tensors.items()
        ]
        wanted = {"name": output, "parameters": _place(shared[output]) if output in shared else {"binary_data": True}}
        sent = [values.data for name, values in tensors.items() if name not in shared]

        def compose() -> Message:
            told = {"parameters": {"timeout": deadline.left_us}, "inputs": inputs, "outputs": [wanted]}
            header = json.dumps(told).encode()
            return b"".join([header, *sent]), {HEADER_LENGTH: str(len(header))}

        length, data = self._ask("POST", f"/v2/models/{quote(model, safe='')}/infer", deadline, compose, model)
        try:
            end = len(data) if length is None else int(length)
            (found,) = json.loads(data[:end])["outputs"]
            described = (found["name"], found["datatype"], found["shape"])
            if not 0 <= end <= len(data):
                raise ValueError(f"a header of {end} bytes in an answer of {len(data)}")
            return read_output(output, described, memoryview(data)[end:], shared.get(output))
        except MALFORMED as error:
            raise self._address.stranger(_explain(error, data)) from None

    def statistics(self, deadline: Deadline) -> dict[str, StepStatistics]:
        """Return Triton's statistics of every model, by model name."""
        _, data = self._ask("GET", "/v2/models/stats", deadline)
        try:
            return read_statistics(json.loads(data)["model_stats"])
        except MALFORMED as error:
            raise self._address.stranger(_explain(error, data)) from None

    def register_system_shared_memory(self, name: str, key: str, byte_size: int, deadline: Deadline) -> None:
        """Let the server open memory of the machine."""
        self._post(f"/v2/systemsharedmemory/region/{name}/register", deadline, key=key, offset=0, byte_size=byte_size)

    def register_cuda_shared_memory(
        self, name: str, raw_handle: bytes, device_id: int, byte_size: int, deadline: Deadline
    ) -> None:
        """Let the server open memory of a GPU; the handle is in base 64."""
        path = f"/v2/cudasharedmemory/region/{name}/register"
        self._post(path, deadline, raw_handle={"b64": raw_handle.decode()}, device_id=device_id, byte_size=byte_size)

    def unregister_system_shared_memory(self, name: str, deadline: Deadline) -> None:
        """Let the server close memory of the machine."""
        self._ask("POST", f"/v2/systemsharedmemory/region/{name}/unregister", deadline.at_most(LET_GO_TIMEOUT_S))

    def unregister_cuda_shared_memory(self, name: str, deadline: Deadline) -> None:
        """Let the server close memory of a GPU."""
        self._ask("POST", f"/v2/cudasharedmemory/region/{name}/unregister", deadline.at_most(LET_GO_TIMEOUT_S))

    def close(self) -> None:
        """Close the connections, those of requests which are still under way as soon as they end."""
        self._closed = True
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                self._idle.pop().close()

    def _post(self, path: str, deadline: Deadline, **fields: Any) -> None:
        self._ask("POST", path, deadline, lambda: (json.dumps(fields).encode(), {}), repeat=False)

    def _ask(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        compose: Callable[[], Message] = lambda: (b"", {}),
        model: str = "",
        repeat: bool = True,
    ) -> tuple[str | None, bytes]:
        """Return how long an answer's JSON is said to be, and the answer; raise what it stands for if it is none."""
        try:
            status, length, data = self._exchange(method, path, deadline, compose, repeat)
        except TimeoutError:
            raise self._address.silent(deadline.timeout_s) from None
        except (OSError, HTTPException, UnicodeError) as error:  # UnicodeError: a host that cannot be one
            raise self._address.unavailable(f"{error}" or type(error).__name__) from None
        if status != 200:
            raise self._refusal(status, data, model)
        return length, data

    def _exchange(
        self, method: str, path: str, deadline: Deadline, compose: Callable[[], Message], repeat: bool
    ) -> tuple[int, str | None, bytes]:
        """Send a request; return status, length of the JSON and the answer.

        One that may not be repeated is sent once, over a connection that is surely open. One that is repeated is
        composed anew, for less time is left.
        """
        while True:
            connection = self._take()
            if not repeat:
                connection.close()  # it may be broken, which only a request would tell
            fresh = not connection.is_open
            body, headers = compose()
            try:
                response, data = connection.exchange(method, path, body, headers, deadline.at)
            except ConnectionError:
                connection.close()
                if fresh:
                    raise
                continue  # the server closed it while it was idle; asking twice gives the same answer
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)
            if self._closed:  # while the request was under way
                self.close()
            return response.status, response.getheader(HEADER_LENGTH), data

    def _take(self) -> DeadlineConnection:
        """Return an idle connection, or a new one that is not open yet."""
        try:
            return self._idle.pop()
        except IndexError:
            return DeadlineConnection(self._address.host, self._address.port)

    def _refusal(self, status: int, data: bytes, model: str) -> Exception:
        """Turn an error's answer into what the caller can do."""
        try:
            message = json.loads(data)["error"]
        except MALFORMED:
            return self._address.stranger(f"{status} ".encode() + data)
        if not isinstance(message, str) or not message:
            message = f"the server refuses with status {status} and gives no reason"
        if status == 405:  # what the metrics' port says
            return self._address.stranger(message.encode(errors="replace"))
        if DEADLINE_PASSED in message:
            return SynthesisTimeoutError(message)
        if "unknown model" in message or status in (502, 503, 504):
            return ServerUnavailableError(f"{self._address.url} cannot serve {model}: {message}")
        return SynthesisError(message)


def _explain(error: Exception, data: bytes) -> bytes:
    """Return what to show of an answer that is none: why, where its JSON could be read."""
    return f"{error}".encode() if type(error) is ValueError else data


def _place(place: Place) -> dict[str, Any]:
    return {
        "shared_memory_region": place.region,
        "shared_memory_offset": place.offset,
        "shared_memory_byte_size": place.size,
    }

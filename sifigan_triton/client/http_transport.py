"""Triton's HTTP protocol with binary tensors, over the standard library.

`tritonclient.http` is not used: it stands on gevent, whose connections belong to the thread that opened them, and a
client that two threads share hangs for ever. Here every request takes an idle connection or opens one, whatever its
thread.

Source: the KServe protocol, version 2, and Triton's extensions of it for binary data, shared memory and statistics.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from sifigan_triton.client.address import Address
from sifigan_triton.client.errors import ServerUnavailableError, SynthesisError
from sifigan_triton.client.transport import DATA_TYPES, LET_GO_TIMEOUT_S, Answer, Place, data_type

HEADER_LENGTH = "Inference-Header-Content-Length"
"""How many bytes of JSON stand before the tensors."""


class HttpTransport:
    """Connections to one server, as many as requests are under way at once; they are kept open and used again."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        """Prepare; nothing is sent yet. The server may be silent for `timeout_s`."""
        self._address, self._timeout_s = address, timeout_s
        self._idle: deque[HTTPConnection] = deque()

    def infer(
        self, model: str, tensors: Mapping[str, npt.NDArray[Any]], output: str, shared: Mapping[str, Place]
    ) -> Answer:
        """Return one output of a model."""
        inputs = [
            {"name": name, "shape": values.shape, "datatype": data_type(values)}
            | {"parameters": _place(shared[name]) if name in shared else {"binary_data_size": values.nbytes}}
            for name, values in tensors.items()
        ]
        wanted = {"name": output, "parameters": _place(shared[output]) if output in shared else {"binary_data": True}}
        header = json.dumps({"inputs": inputs, "outputs": [wanted]}).encode()
        body = b"".join([header, *(values.data for name, values in tensors.items() if name not in shared)])
        path = f"/v2/models/{quote(model, safe='')}/infer"
        length, data = self._ask("POST", path, body, {HEADER_LENGTH: str(len(header))}, model)
        described = self._parse(data[:length], "outputs")[0]
        (count,) = described["shape"]
        if output in shared:
            return Answer(count, None)
        return Answer(count, np.frombuffer(memoryview(data)[length:], DATA_TYPES[described["datatype"]]).copy())

    def statistics(self) -> list[dict[str, Any]]:
        """Return Triton's statistics of every model."""
        _, data = self._ask("GET", "/v2/models/stats")
        return self._parse(data, "model_stats")

    def register_system_shared_memory(self, name: str, key: str, byte_size: int) -> None:
        """Let the server open memory of the machine."""
        self._post(f"/v2/systemsharedmemory/region/{name}/register", key=key, offset=0, byte_size=byte_size)

    def register_cuda_shared_memory(self, name: str, raw_handle: bytes, device_id: int, byte_size: int) -> None:
        """Let the server open memory of a GPU; the handle is in base 64."""
        path = f"/v2/cudasharedmemory/region/{name}/register"
        self._post(path, raw_handle={"b64": raw_handle.decode()}, device_id=device_id, byte_size=byte_size)

    def unregister_system_shared_memory(self, name: str) -> None:
        """Let the server close memory of the machine."""
        self._ask("POST", f"/v2/systemsharedmemory/region/{name}/unregister", longest_s=LET_GO_TIMEOUT_S)

    def unregister_cuda_shared_memory(self, name: str) -> None:
        """Let the server close memory of a GPU."""
        self._ask("POST", f"/v2/cudasharedmemory/region/{name}/unregister", longest_s=LET_GO_TIMEOUT_S)

    def close(self) -> None:
        """Close the connections; nobody may be using them."""
        while self._idle:
            self._idle.pop().close()

    def _post(self, path: str, **fields: Any) -> None:
        self._ask("POST", path, json.dumps(fields).encode())

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        model: str = "",
        longest_s: float = math.inf,
    ) -> tuple[int, bytes]:
        """Return how long an answer's JSON is, and the answer; raise what it stands for if it is none."""
        timeout_s = min(self._timeout_s, longest_s)
        try:
            status, length, data = self._exchange(method, path, body, headers or {}, timeout_s)
        except TimeoutError:
            raise self._address.silent(timeout_s) from None
        except (OSError, HTTPException, UnicodeError) as error:  # UnicodeError: a host that cannot be one
            raise self._address.unavailable(f"{error}" or type(error).__name__) from None
        if status != 200:
            raise self._refusal(status, data, model)
        return length, data

    def _exchange(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[int, int, bytes]:
        """Send a request; return status, length of the JSON and all bytes of the answer."""
        while True:
            connection = self._take()
            connection.timeout, fresh = timeout_s, connection.sock is None
            try:
                if fresh:
                    connection.connect()
                connection.sock.settimeout(timeout_s)
                connection.request(method, path, body, dict(headers))
                response = connection.getresponse()
                data = response.read()
            except ConnectionError:
                connection.close()
                if fresh:
                    raise
                continue  # the server closed it while it was idle; asking twice gives the same answer
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)
            return response.status, int(response.getheader(HEADER_LENGTH) or len(data)), data

    def _take(self) -> HTTPConnection:
        """Return an idle connection, or a new one that is not open yet."""
        try:
            return self._idle.pop()
        except IndexError:
            return HTTPConnection(self._address.host, self._address.port)

    def _parse(self, text: bytes, key: str) -> list[dict[str, Any]]:
        """Read the list that an answer holds."""
        try:
            found: list[dict[str, Any]] = json.loads(text)[key]
        except (ValueError, KeyError, TypeError):
            raise self._stranger(text) from None
        return found

    def _refusal(self, status: int, data: bytes, model: str) -> Exception:
        """Turn an error's answer into what the caller can do."""
        try:
            message = str(json.loads(data)["error"])
        except (ValueError, KeyError, TypeError):
            return self._stranger(f"{status} ".encode() + data)
        if status == 405:  # what the metrics' port says
            return self._stranger(message.encode())
        if "unknown model" in message or status in (502, 503, 504):
            return ServerUnavailableError(f"{self._address.url} cannot serve {model}: {message}")
        return SynthesisError(message)

    def _stranger(self, text: bytes) -> ServerUnavailableError:
        """Return the error for an answer that is not of Triton's inference API."""
        shown = text[:200].decode(errors="replace").strip()
        return ServerUnavailableError(
            f"{self._address.url} answers {shown!r}: expected Triton's HTTP port there (by default 8000)"
        )


def _place(place: Place) -> dict[str, Any]:
    return {
        "shared_memory_region": place.region,
        "shared_memory_offset": place.offset,
        "shared_memory_byte_size": place.size,
    }

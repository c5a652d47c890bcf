"""Triton's HTTP protocol with binary tensors: what is asked, and what an answer stands for. Nothing is sent here.

Source: the KServe protocol, version 2, and Triton's extensions of it for binary data, shared memory and statistics.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, IncompleteRead
from typing import Any
from urllib.parse import quote

import numpy.typing as npt

from sifigan_triton.client.address import Address
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.errors import ServerUnavailableError, SynthesisError, SynthesisTimeoutError
from sifigan_triton.client.retry import asked_s
from sifigan_triton.client.step_statistics import StepStatistics, read_statistics
from sifigan_triton.client.transport import DEADLINE_PASSED, Answer, Place, data_type, read_output, read_parameters

HEADER_LENGTH = "Inference-Header-Content-Length"
"""How many bytes of JSON stand before the tensors."""
LONGEST_ANSWER = (1 << 31) - 1
"""Bytes; what gRPC carries, too: six hours of audio. No server makes the client take more memory."""
TEMPORARY = (502, 503, 504)
"""Status of a server, or of a proxy before it, that is not there or has no room now."""
MALFORMED = (ValueError, LookupError, TypeError, RecursionError)
"""What reading an answer raises that is not Triton's."""


@dataclass(frozen=True)
class HttpRequest:
    """What is sent."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HttpResponse:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By names in small letters."""
    body: bytes


STATISTICS = HttpRequest("GET", "/v2/models/stats")


def parameters_request(model: str) -> HttpRequest:
    """Return the request for a model's configuration."""
    return HttpRequest("GET", f"/v2/models/{quote(model, safe='')}/config")


def infer_request(
    model: str,
    tensors: Mapping[str, npt.NDArray[Any]],
    output: str,
    shared: Mapping[str, Place],
    deadline: Deadline,
) -> HttpRequest:
    """Return the request for one output of a model; it tells what is left until the deadline."""
    inputs = [
        {"name": name, "shape": values.shape, "datatype": data_type(values)}
        | {"parameters": _place(shared[name]) if name in shared else {"binary_data_size": values.nbytes}}
        for name, values in tensors.items()
    ]
    wanted = {"name": output, "parameters": _place(shared[output]) if output in shared else {"binary_data": True}}
    told = {"parameters": {"timeout": deadline.left_us}, "inputs": inputs, "outputs": [wanted]}
    header = json.dumps(told).encode()
    body = b"".join([header, *(values.data for name, values in tensors.items() if name not in shared)])
    return HttpRequest("POST", f"/v2/models/{quote(model, safe='')}/infer", body, {HEADER_LENGTH: str(len(header))})


def infer_answer(address: Address, response: HttpResponse, output: str, place: Place | None) -> Answer:
    """Return the output that a response of status 200 holds, or tells to lie in `place`.

    Raises:
        ServerUnavailableError: if this is no answer of Triton's.

    """
    data, length = response.body, response.headers.get(HEADER_LENGTH.lower())
    try:
        end = len(data) if length is None else int(length)
        (found,) = json.loads(data[:end])["outputs"]
        described = (found["name"], found["datatype"], found["shape"])
        if not 0 <= end <= len(data):
            raise ValueError(f"a header of {end} bytes in an answer of {len(data)}")
        return read_output(output, described, memoryview(data)[end:], place)
    except MALFORMED as error:
        raise address.stranger(_explain(error, data)) from None


def statistics_answer(address: Address, response: HttpResponse) -> dict[str, StepStatistics]:
    """Return the statistics of every model that a response of status 200 holds, by model name.

    Raises:
        ServerUnavailableError: if this is no answer of Triton's.

    """
    try:
        return read_statistics(json.loads(response.body)["model_stats"])
    except MALFORMED as error:
        raise address.stranger(_explain(error, response.body)) from None


def parameters_answer(address: Address, response: HttpResponse) -> dict[str, str]:
    """Return the parameters in the model's configuration that a response of status 200 holds.

    Raises:
        ServerUnavailableError: if this is no answer of Triton's.

    """
    try:
        return read_parameters(json.loads(response.body))
    except (*MALFORMED, AttributeError) as error:
        raise address.stranger(_explain(error, response.body)) from None


def refusal(address: Address, response: HttpResponse, model: str) -> Exception:
    """Turn a response of another status than 200 into what the caller can do."""
    status = response.status
    temporary, retry_after_s = status in TEMPORARY, asked_s(response.headers.get("retry-after"))
    try:
        message = json.loads(response.body)["error"]
    except MALFORMED:
        shown = f"{status} ".encode() + response.body
        return address.stranger(shown, temporary=temporary, retry_after_s=retry_after_s)
    if not isinstance(message, str) or not message:
        message = f"the server refuses with status {status} and gives no reason"
    if status == 405:  # what the metrics' port says
        return address.stranger(message.encode(errors="replace"))
    if DEADLINE_PASSED in message:
        return SynthesisTimeoutError(message)
    if temporary or "unknown model" in message:  # a server that is starting or stopping says 503
        return address.refused(model, message, temporary=temporary, retry_after_s=retry_after_s)
    return SynthesisError(message)


def too_long(size: int) -> HTTPException:
    """Return the error for an answer of `size` bytes or more."""
    return HTTPException(f"an answer of {size:,} bytes or more, expected at most {LONGEST_ANSWER:,}")


def no_answer(address: Address, error: Exception) -> ServerUnavailableError:
    """Return the error for an exchange that failed; asks the port which protocol it speaks."""
    return address.unavailable(f"{error}" or type(error).__name__, isinstance(error, (OSError, IncompleteRead)))


def _explain(error: Exception, data: bytes) -> bytes:
    """Return what to show of an answer that is none: why, where its JSON could be read."""
    return f"{error}".encode() if type(error) is ValueError else data


def _place(place: Place) -> dict[str, Any]:
    return {
        "shared_memory_region": place.region,
        "shared_memory_offset": place.offset,
        "shared_memory_byte_size": place.size,
    }

"""Triton's gRPC protocol: what is asked of `tritonclient`, and what its answers and errors stand for.

`tritonclient.grpc` and `tritonclient.grpc.aio` take the same arguments and raise the same errors; only one is awaited.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from sifigan_triton.client.address import Address
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.errors import SynthesisError, SynthesisTimeoutError
from sifigan_triton.client.retry import asked_s
from sifigan_triton.client.step_statistics import StepStatistics, read_statistics
from sifigan_triton.client.transport import DEADLINE_PASSED, Answer, Place, data_type, read_output, read_parameters

_LONGEST_MESSAGE = (1 << 31) - 1
CHANNEL = [
    ("grpc.max_send_message_length", _LONGEST_MESSAGE),
    ("grpc.max_receive_message_length", _LONGEST_MESSAGE),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
"""A channel that lost its server looks for it every second: by default it would wait for up to two minutes."""


def infer_arguments(
    model: str,
    tensors: Mapping[str, npt.NDArray[Any]],
    output: str,
    shared: Mapping[str, Place],
    deadline: Deadline,
) -> dict[str, Any]:
    """Return the arguments of `infer` for one output of a model; the server is told what is left until the deadline."""
    inputs = []
    for name, values in tensors.items():
        inputs.append(InferInput(name, list(values.shape), data_type(values)))
        if name in shared:
            _lay(inputs[-1], shared[name])
        else:
            inputs[-1].set_data_from_numpy(values)
    wanted = InferRequestedOutput(output)
    if output in shared:
        _lay(wanted, shared[output])
    return {"model_name": model, "inputs": inputs, "outputs": [wanted], "timeout": deadline.left_us}


def infer_answer(address: Address, result: Any, output: str, place: Place | None) -> Answer:
    """Return the output that a result of `infer` holds, or tells to lie in `place`.

    Raises:
        ServerUnavailableError: if this is no answer of Triton's.

    """
    answer = result.get_response()
    try:
        (found,) = answer.outputs
        data = b"".join(answer.raw_output_contents)
        return read_output(output, (found.name, found.datatype, list(found.shape)), data, place)
    except ValueError as error:
        raise address.stranger(f"{error}".encode()) from None


def statistics_answer(answer: dict[str, Any]) -> dict[str, StepStatistics]:
    """Return the statistics of every model, by model name."""
    return read_statistics(answer.get("model_stats", []))  # a server without models leaves the list out


def parameters_answer(answer: dict[str, Any]) -> dict[str, str]:
    """Return the parameters in a model's configuration."""
    return read_parameters(answer.get("config", {}))


def failure(
    address: Address, error: InferenceServerException, deadline: Deadline, model: str, closed: bool = False
) -> Exception:
    """Turn an error into what the caller can do; asks a port that gave no answer which protocol it speaks.

    Args:
        address: the server's.
        error: what tritonclient raised.
        deadline: the call's.
        model: the model's name.
        closed: whether the client has been closed meanwhile.

    """
    status, message = str(error.status() or ""), str(error.message() or error)
    if DEADLINE_PASSED in message:  # CANCELLED by the server, not by `close`
        return SynthesisTimeoutError(message)
    if closed and "CANCELLED" in status:
        return address.closed()
    if "DEADLINE_EXCEEDED" in status:
        return address.silent(deadline.timeout_s)
    headers = _headers(error)
    temporary = "UNAVAILABLE" in status
    if "unknown model" in message or (temporary and headers):  # a proxy answers with headers, nobody without
        asks_s = asked_s(headers.get("retry-after"))
        return address.refused(model, message, temporary=temporary, retry_after_s=asks_s)
    return address.unavailable(message) if temporary else SynthesisError(message)


def _headers(error: InferenceServerException) -> dict[str, str]:
    """Return what a server or a proxy said beside its error; tritonclient keeps gRPC's own error as the context."""
    found = error.__context__
    pairs = [
        *(getattr(found, "initial_metadata", tuple)() or ()),
        *(getattr(found, "trailing_metadata", tuple)() or ()),
    ]
    return {str(name): str(value) for name, value in pairs}


def _lay(tensor: Any, place: Place) -> None:
    tensor.set_shared_memory(place.region, place.size, place.offset)

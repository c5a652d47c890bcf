"""Triton's gRPC protocol, over `tritonclient`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy.typing as npt
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from sifigan_triton.client.address import Address
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.errors import ServerUnavailableError, SynthesisError, SynthesisTimeoutError
from sifigan_triton.client.step_statistics import StepStatistics, read_statistics
from sifigan_triton.client.transport import (
    DEADLINE_PASSED,
    LET_GO_TIMEOUT_S,
    Answer,
    Place,
    data_type,
    read_output,
)


class GrpcTransport:
    """One connection to one server, which carries any number of requests at once."""

    def __init__(self, address: Address) -> None:
        """Prepare; nothing is sent yet."""
        self._address = address
        self._closed = False
        self._client = grpc.InferenceServerClient(address.host_port)

    def infer(
        self,
        model: str,
        tensors: Mapping[str, npt.NDArray[Any]],
        output: str,
        shared: Mapping[str, Place],
        deadline: Deadline,
    ) -> Answer:
        """Return one output of a model."""
        inputs = []
        for name, values in tensors.items():
            inputs.append(grpc.InferInput(name, list(values.shape), data_type(values)))
            if name in shared:
                _lay(inputs[-1], shared[name])
            else:
                inputs[-1].set_data_from_numpy(values)
        wanted = grpc.InferRequestedOutput(output)
        if output in shared:
            _lay(wanted, shared[output])
        infer = partial(self._client.infer, model, inputs, outputs=[wanted], timeout=deadline.left_us)
        answer = self._ask(infer, deadline, model).get_response()
        try:
            (found,) = answer.outputs
            data = b"".join(answer.raw_output_contents)
            return read_output(output, (found.name, found.datatype, list(found.shape)), data, shared.get(output))
        except ValueError as error:
            raise self._address.stranger(f"{error}".encode()) from None

    def statistics(self, deadline: Deadline) -> dict[str, StepStatistics]:
        """Return Triton's statistics of every model, by model name."""
        answer: dict[str, Any] = self._ask(partial(self._client.get_inference_statistics, as_json=True), deadline)
        return read_statistics(answer.get("model_stats", []))  # a server without models leaves the list out

    def register_system_shared_memory(self, name: str, key: str, byte_size: int, deadline: Deadline) -> None:
        """Let the server open memory of the machine."""
        self._ask(partial(self._client.register_system_shared_memory, name, key, byte_size), deadline)

    def register_cuda_shared_memory(
        self, name: str, raw_handle: bytes, device_id: int, byte_size: int, deadline: Deadline
    ) -> None:
        """Let the server open memory of a GPU; the handle is in base 64."""
        register = self._client.register_cuda_shared_memory
        self._ask(partial(register, name, raw_handle, device_id, byte_size), deadline)

    def unregister_system_shared_memory(self, name: str, deadline: Deadline) -> None:
        """Let the server close memory of the machine."""
        self._ask(partial(self._client.unregister_system_shared_memory, name), deadline.at_most(LET_GO_TIMEOUT_S))

    def unregister_cuda_shared_memory(self, name: str, deadline: Deadline) -> None:
        """Let the server close memory of a GPU."""
        self._ask(partial(self._client.unregister_cuda_shared_memory, name), deadline.at_most(LET_GO_TIMEOUT_S))

    def close(self) -> None:
        """Close the connection; requests that are under way end."""
        self._closed = True
        self._client.close()

    def _ask(self, call: Callable[..., Any], deadline: Deadline, model: str = "") -> Any:
        """Call the server; turn its errors into what the caller can do."""
        try:
            return call(client_timeout=deadline.left_s)
        except InferenceServerException as error:
            status, message = str(error.status() or ""), str(error.message() or error)
        except ValueError:  # what a closed channel says
            if not self._closed:
                raise
            status, message = "CANCELLED", ""
        if DEADLINE_PASSED in message:  # CANCELLED by the server, not by `close`
            raise SynthesisTimeoutError(message)
        if self._closed and "CANCELLED" in status:
            raise ServerUnavailableError(f"this client of {self._address.url} has been closed: open a new one")
        if "DEADLINE_EXCEEDED" in status:
            raise self._address.silent(deadline.timeout_s)
        if "unknown model" in message:
            raise ServerUnavailableError(f"{self._address.url} cannot serve {model}: {message}")
        if "UNAVAILABLE" in status:
            raise self._address.unavailable(message)
        raise SynthesisError(message)


def _lay(tensor: Any, place: Place) -> None:
    tensor.set_shared_memory(place.region, place.size, place.offset)

"""Triton's gRPC protocol, over `tritonclient`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy.typing as npt
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from sifigan_triton.client import grpc_messages
from sifigan_triton.client.address import Address
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.step_statistics import StepStatistics
from sifigan_triton.client.transport import LET_GO_TIMEOUT_S, Answer, Place


class GrpcTransport:
    """One connection to one server, which carries any number of requests at once."""

    def __init__(self, address: Address) -> None:
        """Prepare; nothing is sent yet."""
        self._address = address
        self._closed = False
        self._client = grpc.InferenceServerClient(address.host_port, channel_args=grpc_messages.CHANNEL)

    def infer(
        self,
        model: str,
        tensors: Mapping[str, npt.NDArray[Any]],
        output: str,
        shared: Mapping[str, Place],
        deadline: Deadline,
    ) -> Answer:
        """Return one output of a model."""
        arguments = grpc_messages.infer_arguments(model, tensors, output, shared, deadline)
        result = self._ask(partial(self._client.infer, **arguments), deadline, model)
        return grpc_messages.infer_answer(self._address, result, output, shared.get(output))

    def statistics(self, deadline: Deadline) -> dict[str, StepStatistics]:
        """Return Triton's statistics of every model, by model name."""
        answer = self._ask(partial(self._client.get_inference_statistics, as_json=True), deadline)
        return grpc_messages.statistics_answer(answer)

    def parameters(self, model: str, deadline: Deadline) -> dict[str, str]:
        """Return the parameters in a model's configuration."""
        answer = self._ask(partial(self._client.get_model_config, model, as_json=True), deadline, model)
        return grpc_messages.parameters_answer(answer)

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
            raise grpc_messages.failure(self._address, error, deadline, model, self._closed) from None
        except ValueError:  # what a closed channel says
            if not self._closed:
                raise
            raise self._address.closed() from None

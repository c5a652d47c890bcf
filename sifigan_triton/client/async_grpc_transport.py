"""Triton's gRPC protocol under asyncio, over `tritonclient.grpc.aio`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy.typing as npt
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from sifigan_triton.client import grpc_messages
from sifigan_triton.client.address import Address
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.step_statistics import StepStatistics
from sifigan_triton.client.transport import Answer


class AsyncGrpcTransport:
    """One connection to one server, which carries any number of requests at once; a cancelled one ends its stream."""

    def __init__(self, address: Address) -> None:
        """Prepare; nothing is sent yet."""
        self._address = address

    async def infer(
        self, model: str, tensors: Mapping[str, npt.NDArray[Any]], output: str, deadline: Deadline
    ) -> Answer:
        """Return one output of a model."""
        arguments = grpc_messages.infer_arguments(model, tensors, output, {}, deadline)
        result = await self._ask(partial(self._client.infer, **arguments), deadline, model)
        return grpc_messages.infer_answer(self._address, result, output, None)

    async def statistics(self, deadline: Deadline) -> dict[str, StepStatistics]:
        """Return Triton's statistics of every model, by model name."""
        answer = await self._ask(partial(self._client.get_inference_statistics, as_json=True), deadline)
        return grpc_messages.statistics_answer(answer)

    async def parameters(self, model: str, deadline: Deadline) -> dict[str, str]:
        """Return the parameters in a model's configuration."""
        answer = await self._ask(partial(self._client.get_model_config, model, as_json=True), deadline, model)
        return grpc_messages.parameters_answer(answer)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    @cached_property
    def _client(self) -> Any:
        """The channel, which belongs to the event loop in which it is first needed."""
        return aio.InferenceServerClient(self._address.host_port, channel_args=grpc_messages.CHANNEL)

    async def _ask(self, call: Callable[..., Any], deadline: Deadline, model: str = "") -> Any:
        """Call the server; turn its errors into what the caller can do."""
        try:
            return await call(client_timeout=deadline.left_s)
        except InferenceServerException as error:
            failure = await asyncio.to_thread(grpc_messages.failure, self._address, error, deadline, model)
        raise failure

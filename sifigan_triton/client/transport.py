"""What the client needs of a connection to Triton, whichever protocol carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.step_statistics import StepStatistics

DATA_TYPES: dict[str, npt.DTypeLike] = {
    "FP32": np.float32,
    "FP64": np.float64,
    "INT64": np.int64,
    "BOOL": np.bool_,
    "INT16": np.int16,
}
"""Triton's names of the types that the ensemble takes and gives."""
OUTPUTS: dict[str, npt.DTypeLike] = {"waveform": np.float32, "pcm16": np.int16}
"""The ensemble's outputs, and the type of each."""
_NAMES = {np.dtype(dtype): name for name, dtype in DATA_TYPES.items()}


def data_type(values: npt.NDArray[Any]) -> str:
    """Return Triton's name of an array's type."""
    return _NAMES[values.dtype]


LET_GO_TIMEOUT_S = 5.0
"""Longest wait for a server to close memory: one that hangs should not hold `close` up for the time of an answer."""


DEADLINE_PASSED = "the deadline of the request "
"""What a server says to a request whose `timeout` is over; Triton says CANCELLED over gRPC, but 400 over HTTP."""


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in memory that client and server share; `offset` and `size` in bytes."""

    region: str
    offset: int
    size: int


@dataclass(frozen=True)
class Answer:
    """One output of an inference."""

    count: int
    """Number of elements."""
    values: npt.NDArray[Any] | None
    """(count,), or None if they lie in shared memory."""


def read_output(
    output: str, found: tuple[object, object, object], data: bytes | memoryview, place: Place | None
) -> Answer:
    """Return what a server answers to a request for one output.

    Args:
        output: the output's name.
        found: name, data type and shape that the server gives.
        data: the values, if they are sent.
        place: where they lie otherwise.

    Raises:
        ValueError: if this is not the output that was asked for.

    """
    dtype = np.dtype(OUTPUTS[output])
    name, datatype, shape = found
    if (name, datatype) != (output, _NAMES[dtype]):
        raise ValueError(f"the output is {name!r} in {datatype!r}, expected {output!r} in {_NAMES[dtype]!r}")
    count = shape[0] if isinstance(shape, list) and len(shape) == 1 else None
    if type(count) is not int or count < 0:
        raise ValueError(f"{output} has shape {shape!r}, expected [samples]")
    size = count * dtype.itemsize
    if place is None and size == len(data):
        return Answer(count, np.frombuffer(data, dtype).copy())
    if place is not None and size <= place.size:
        return Answer(count, None)
    room = f"{len(data):,} were sent" if place is None else f"{place.size:,} have room"
    raise ValueError(f"{output} of shape {shape!r} is {size:,} bytes, but {room}")


def read_parameters(config: Any) -> dict[str, str]:
    """Return the parameters in a model's configuration, as JSON gives it.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: if it is none.

    """
    parameters = config.get("parameters", {})
    return {str(name): str(value["string_value"]) for name, value in parameters.items() if "string_value" in value}


class Transport(Protocol):
    """A connection to one server; any number of threads may use it at the same time.

    All calls raise:
        SynthesisError: the server refuses; the message is the server's.
        ServerUnavailableError: no Triton server answers, or it does not serve the model.
        SynthesisTimeoutError: the deadline passes, here or at the server.
    """

    def infer(
        self,
        model: str,
        tensors: Mapping[str, npt.NDArray[Any]],
        output: str,
        shared: Mapping[str, Place],
        deadline: Deadline,
    ) -> Answer:
        """Return one output of a model; the server is told what is left until the deadline.

        Args:
            model: the model's name.
            tensors: the inputs by name, contiguous.
            output: the output's name.
            shared: the tensors, inputs and the output by name, that lie in shared memory; the others are sent.
            deadline: when the answer is waited for no longer.

        """

    def statistics(self, deadline: Deadline) -> dict[str, StepStatistics]:
        """Return Triton's statistics of every model, by model name."""

    def parameters(self, model: str, deadline: Deadline) -> dict[str, str]:
        """Return the parameters in a model's configuration."""

    def register_system_shared_memory(self, name: str, key: str, byte_size: int, deadline: Deadline) -> None:
        """Let the server open memory of the machine."""

    def register_cuda_shared_memory(
        self, name: str, raw_handle: bytes, device_id: int, byte_size: int, deadline: Deadline
    ) -> None:
        """Let the server open memory of a GPU; the handle is in base 64."""

    def unregister_system_shared_memory(self, name: str, deadline: Deadline) -> None:
        """Let the server close memory of the machine."""

    def unregister_cuda_shared_memory(self, name: str, deadline: Deadline) -> None:
        """Let the server close memory of a GPU."""

    def close(self) -> None:
        """Close the connection; one that a request still uses, as soon as that ends."""


class AsyncTransport(Protocol):
    """The same under asyncio, without shared memory; a request that is cancelled ends at the server, too."""

    async def infer(
        self, model: str, tensors: Mapping[str, npt.NDArray[Any]], output: str, deadline: Deadline
    ) -> Answer:
        """Return one output of a model; the server is told what is left until the deadline."""

    async def statistics(self, deadline: Deadline) -> dict[str, StepStatistics]:
        """Return Triton's statistics of every model, by model name."""

    async def parameters(self, model: str, deadline: Deadline) -> dict[str, str]:
        """Return the parameters in a model's configuration."""

    async def close(self) -> None:
        """Close the connection."""

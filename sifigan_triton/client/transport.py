"""What the client needs of a connection to Triton, whichever protocol carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

DATA_TYPES: dict[str, npt.DTypeLike] = {"FP32": np.float32, "INT64": np.int64, "BOOL": np.bool_, "INT16": np.int16}
"""Triton's names of the types that the ensemble takes and gives."""
_NAMES = {np.dtype(dtype): name for name, dtype in DATA_TYPES.items()}


def data_type(values: npt.NDArray[Any]) -> str:
    """Return Triton's name of an array's type."""
    return _NAMES[values.dtype]


LET_GO_TIMEOUT_S = 5.0
"""Longest wait for a server to close memory: one that hangs should not hold `close` up for the time of an answer."""


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


class Transport(Protocol):
    """A connection to one server; any number of threads may use it at the same time.

    All calls raise:
        SynthesisError: the server refuses; the message is the server's.
        ServerUnavailableError: no server answers, or it does not serve the model.
        SynthesisTimeoutError: the answer takes longer than the transport waits.
    """

    def infer(
        self, model: str, tensors: Mapping[str, npt.NDArray[Any]], output: str, shared: Mapping[str, Place]
    ) -> Answer:
        """Return one output of a model.

        Args:
            model: the model's name.
            tensors: the inputs by name, contiguous.
            output: the output's name.
            shared: the tensors, inputs and the output by name, that lie in shared memory; the others are sent.

        """

    def statistics(self) -> list[dict[str, Any]]:
        """Return Triton's statistics of every model."""

    def register_system_shared_memory(self, name: str, key: str, byte_size: int) -> None:
        """Let the server open memory of the machine."""

    def register_cuda_shared_memory(self, name: str, raw_handle: bytes, device_id: int, byte_size: int) -> None:
        """Let the server open memory of a GPU; the handle is in base 64."""

    def unregister_system_shared_memory(self, name: str) -> None:
        """Let the server close memory of the machine."""

    def unregister_cuda_shared_memory(self, name: str) -> None:
        """Let the server close memory of a GPU."""

    def close(self) -> None:
        """Close the connection; nobody may be using it."""

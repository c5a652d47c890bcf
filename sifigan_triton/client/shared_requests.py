"""Requests whose tensors lie in shared memory: what is written, asked, read, and done again when the server forgot."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.errors import SynthesisError
from sifigan_triton.client.shared_memory import SharedMemory, SharedMemoryKind
from sifigan_triton.client.transport import OUTPUTS, Transport

_SEND_AGAIN = ("Unable to find shared memory region", "shared memory size specified with the request")
"""What a server says that was started anew, or whose voice makes more samples a frame than the one before."""


class SharedRequests:
    """Sets of regions, as many as requests are under way at once: each set serves one request at a time."""

    def __init__(self, transport: Transport, kind: SharedMemoryKind, url: str) -> None:
        """Prepare; nothing is reserved yet."""
        self._transport, self._kind, self._url = transport, kind, url
        self._idle: deque[SharedMemory] = deque()
        self._samples_per_frame = 0  # not known yet
        self._closed = False

    def infer(
        self, model: str, tensors: Mapping[str, npt.NDArray[Any]], output: str, deadline: Deadline
    ) -> npt.NDArray[Any]:
        """Return one output, a copy, before the deadline.

        Raises:
            SharedMemoryError: if memory cannot be had, or the server cannot open it.

        """
        try:
            memory = self._idle.pop()
        except IndexError:
            memory = SharedMemory(self._transport, self._kind, self._url)
        try:
            return self._share(memory, model, tensors, output, deadline)
        finally:
            self._idle.append(memory)
            if self._closed:  # while the request was under way
                self.close()

    def close(self) -> None:
        """Give all memory back, that of requests which are still under way as soon as they end."""
        self._closed = True
        while self._idle:
            with suppress(IndexError):  # another thread was faster
                self._idle.pop().close()

    def _share(
        self,
        memory: SharedMemory,
        model: str,
        tensors: Mapping[str, npt.NDArray[Any]],
        output: str,
        deadline: Deadline,
        again: bool = True,
    ) -> npt.NDArray[Any]:
        """Hand the tensors of a request over, once more if the server does not know the memory any more."""
        try:
            return self._share_once(memory, model, tensors, output, deadline)
        except SynthesisError as refusal:
            if not again or not any(reason in str(refusal) for reason in _SEND_AGAIN):
                raise
            memory.forget(deadline)
            self._samples_per_frame = 0
            return self._share(memory, model, tensors, output, deadline, again=False)
        except BaseException:
            memory.retire()  # the request may still be under way, reading and writing there
            raise

    def _share_once(
        self,
        memory: SharedMemory,
        model: str,
        tensors: Mapping[str, npt.NDArray[Any]],
        output: str,
        deadline: Deadline,
    ) -> npt.NDArray[Any]:
        """Write a request into shared memory, and read one output from there once its size can be foretold."""
        frames, dtype = tensors["f0"].size, np.dtype(OUTPUTS[output])
        shared = memory.put(tensors, deadline)
        size = frames * self._samples_per_frame * dtype.itemsize
        if size:
            shared[output] = memory.room(size, deadline)
        answer = self._transport.infer(model, tensors, output, shared, deadline)
        if answer.values is None:
            return memory.answer(dtype, answer.count)
        self._samples_per_frame = answer.count // frames
        return answer.values

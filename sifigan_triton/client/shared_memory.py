"""Memory that a client shares with a server on the same machine, so that no tensor passes through a socket.

    client                                            server
    regions "in", "out"  ── registered once ────────► opens both by their keys
    writes the request into "in"
    infer: names and sizes only ────────────────────► reads "in", writes "out"
    copies the answer out of "out"

NVIDIA's own helpers (`tritonclient.utils.shared_memory`, `.cuda_shared_memory`) are not used: those of 2.50.0 need
`pkg_resources` and a `cuda-python` that current packages do not hold any more.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy.typing as npt

from sifigan_triton.client.cuda_memory import CudaBlock
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.errors import SharedMemoryError, SynthesisError, SynthesisTimeoutError
from sifigan_triton.client.system_memory import SystemBlock
from sifigan_triton.client.transport import LET_GO_TIMEOUT_S, Place, Transport

SharedMemoryKind = Literal["system", "cuda"]
ALIGNMENT = 64
"""Bytes to a multiple of which tensors are laid: a cache line."""
SMALLEST_REGION = 1 << 16
LET_GO_S = 0.5
"""Longest wait in `close`: a server lets go of a region a little after its answer."""

logger = logging.getLogger(__name__)


class Block(Protocol):
    """Bytes that another process can open."""

    def register(self, transport: Transport, name: str, deadline: Deadline) -> None:
        """Make the block known to a server."""

    def unregister(self, transport: Transport, name: str, deadline: Deadline) -> None:
        """Make the server forget the block."""

    def write(self, values: npt.NDArray[Any], offset: int) -> None:
        """Copy an array, contiguous, to `offset` bytes from the beginning."""

    def read(self, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        """Return a copy of the first `count` elements."""

    def free(self) -> None:
        """Give the memory back."""


class Region:
    """A block under the name by which a server knows it."""

    def __init__(self, kind: SharedMemoryKind, purpose: str, size: int) -> None:
        """Reserve `size` bytes; the name is unique among all processes."""
        self.name = f"sifigan-{purpose}-{os.getpid()}-{secrets.token_hex(6)}"
        self.size = size
        self.block: Block = SystemBlock(size) if kind == "system" else CudaBlock(size)

    def free(self) -> None:
        """Give the memory back; what cannot be freed is told in the log, so that the other regions still are."""
        try:
            self.block.free()
        except (SharedMemoryError, BufferError) as error:  # BufferError: someone still looks at the memory
            logger.warning("the shared memory region %s (%d bytes) is not freed: %s", self.name, self.size, error)


class SharedMemory:
    """The regions of one request at a time: registered once, used again, replaced when they are too small."""

    def __init__(self, transport: Transport, kind: SharedMemoryKind, url: str) -> None:
        """Prepare; nothing is reserved yet.

        Args:
            transport: the connection to the server.
            kind: "system", or "cuda" for memory of the first NVIDIA GPU.
            url: the server's address, for messages.

        """
        self._transport, self._kind, self._url = transport, kind, url
        self._regions: dict[str, Region] = {}
        self._retired: list[Region] = []

    def put(self, tensors: Mapping[str, npt.NDArray[Any]], deadline: Deadline) -> dict[str, Place]:
        """Write the tensors of a request; return where each lies.

        Raises:
            SharedMemoryError: if memory cannot be had, or the server cannot open it.

        """
        offsets, end = {}, 0
        for name, values in tensors.items():
            offsets[name] = end
            end += -(-values.nbytes // ALIGNMENT) * ALIGNMENT
        region = self._region("in", end, deadline)
        for name, values in tensors.items():
            region.block.write(values, offsets[name])
        return {name: Place(region.name, offsets[name], values.nbytes) for name, values in tensors.items()}

    def room(self, size: int, deadline: Deadline) -> Place:
        """Return a place for an answer of `size` bytes.

        Raises:
            SharedMemoryError: if memory cannot be had, or the server cannot open it.

        """
        return Place(self._region("out", size, deadline).name, 0, size)

    def answer(self, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        """Return a copy of an answer of `count` elements."""
        return self._regions["out"].block.read(dtype, count)

    def retire(self) -> None:
        """Use these regions no more: a request that was given up may still read and write there."""
        self._retired += self._regions.values()
        self._regions = {}

    def forget(self, deadline: Deadline) -> None:
        """Drop regions that the server does not know (any more): it was started anew, or someone unregistered them."""
        self.retire()
        self._sweep(deadline)

    def close(self) -> None:
        """Unregister and free everything. A region that the server still uses stays with the server until it ends."""
        self.retire()
        give_up, deadline = time.monotonic() + LET_GO_S, Deadline(LET_GO_TIMEOUT_S)
        self._sweep(deadline)
        while self._retired and time.monotonic() < give_up:
            time.sleep(0.01)
            self._sweep(deadline)
        for region in self._retired:
            logger.warning("%s still uses the shared memory region %s (%d bytes)", self._url, region.name, region.size)
            region.free()
        self._retired = []

    def _region(self, purpose: str, size: int, deadline: Deadline) -> Region:
        """Return the region for a purpose, a new one if there is none of this size."""
        region = self._regions.get(purpose)
        if region is not None and region.size >= size:
            return region
        if region is not None:
            self._retired.append(self._regions.pop(purpose))
        self._sweep(deadline)
        region = Region(self._kind, purpose, max(SMALLEST_REGION, 1 << (size - 1).bit_length()))
        try:
            region.block.register(self._transport, region.name, deadline)
        except SynthesisError as refusal:
            region.free()
            raise self._explain(refusal) from None
        except BaseException:  # whatever it was, nobody else knows of this memory
            region.free()
            raise
        self._regions[purpose] = region
        return region

    def _sweep(self, deadline: Deadline) -> None:
        """Release retired regions; the server refuses those that a request still uses."""
        retired, self._retired = self._retired, []
        while retired:
            region = retired.pop()
            try:
                released = self._release(region, deadline)
            except BaseException:
                self._retired += [*retired, region]
                raise
            if not released:
                self._retired.append(region)

    def _release(self, region: Region, deadline: Deadline) -> bool:
        """Unregister and free a region, unless the server still uses it or says nothing in time."""
        try:
            region.block.unregister(self._transport, region.name, deadline)
        except SynthesisError as refusal:
            if "in use" in str(refusal):
                return False
        except SynthesisTimeoutError:
            return False  # the call had no time left for this
        except OSError:
            pass  # no server, no registration
        region.free()
        return True

    def _explain(self, refusal: SynthesisError) -> SharedMemoryError:
        """Turn a refused registration into the error that says what the caller can do."""
        return SharedMemoryError(
            f"{self._url} takes no {self._kind} shared memory of this client: {refusal}; the server has to allow it "
            "(`serve --client-shared-memory`), and server and client have to run on one machine, as one user, with "
            "one /dev/shm (docker: --ipc=host): leave shared_memory out otherwise"
        )

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
import mmap
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from tritonclient.utils import InferenceServerException

SharedMemoryKind = Literal["system", "cuda"]
ALIGNMENT = 64
"""Bytes to a multiple of which tensors are laid: a cache line."""
SMALLEST_REGION = 1 << 16
LET_GO_S = 0.5
"""Longest wait in `close`: a server lets go of a region a little after its answer."""
FOLDER = Path("/dev/shm")
"""Where Linux keeps the memory that `shm_open` names."""

logger = logging.getLogger(__name__)


class SharedMemoryError(RuntimeError):
    """Client and server cannot share memory; the message says why and what to do."""


class Block(Protocol):
    """Bytes that another process can open."""

    def register(self, client: Any, name: str) -> None:
        """Make the block known to a server, through an `InferenceServerClient`."""

    def unregister(self, client: Any, name: str) -> None:
        """Make the server forget the block."""

    def write(self, values: npt.NDArray[Any], offset: int) -> None:
        """Copy an array, contiguous, to `offset` bytes from the beginning."""

    def read(self, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        """Return a copy of the first `count` elements."""

    def free(self) -> None:
        """Give the memory back."""


class SystemBlock:
    """A block of the machine's memory. Its key is gone as soon as the server has opened it: nothing is left behind."""

    def __init__(self, size: int) -> None:
        """Reserve `size` bytes."""
        self._size = size
        self._key = FOLDER / f"sifigan-client-{os.getpid()}-{secrets.token_hex(6)}"
        descriptor = os.open(self._key, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)  # a full /dev/shm is told here, not by SIGBUS in `write`
            self._memory = mmap.mmap(descriptor, size)
        except OSError as error:
            self._key.unlink()
            raise SharedMemoryError(
                f"no {size:,} bytes of shared memory in {FOLDER}: {error.strerror}; make it larger (docker: "
                "--shm-size) or leave shared_memory out"
            ) from None
        finally:
            os.close(descriptor)

    def register(self, client: Any, name: str) -> None:
        """Make the block known to a server."""
        try:
            client.register_system_shared_memory(name, f"/{self._key.name}", self._size)
        finally:
            self._key.unlink(missing_ok=True)

    def unregister(self, client: Any, name: str) -> None:
        """Make the server forget the block."""
        client.unregister_system_shared_memory(name)

    def write(self, values: npt.NDArray[Any], offset: int) -> None:
        """Copy an array to `offset` bytes from the beginning."""
        np.frombuffer(self._memory, values.dtype, values.size, offset)[:] = values.ravel()

    def read(self, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        """Return a copy of the first `count` elements."""
        return np.frombuffer(self._memory, dtype, count).copy()

    def free(self) -> None:
        """Give the memory back."""
        self._memory.close()


class Region:
    """A block under the name by which a server knows it."""

    def __init__(self, kind: SharedMemoryKind, purpose: str, size: int) -> None:
        """Reserve `size` bytes; the name is unique among all processes."""
        self.name = f"sifigan-{purpose}-{os.getpid()}-{secrets.token_hex(6)}"
        self.size = size
        self.block = _block(kind, size)


def _block(kind: SharedMemoryKind, size: int) -> Block:
    if kind == "system":
        return SystemBlock(size)
    from sifigan_triton.client.cuda_memory import CudaBlock

    return CudaBlock(size)


class SharedMemory:
    """The regions of one client, for requests and for answers: registered once, replaced when they are too small."""

    def __init__(self, client: Any, kind: SharedMemoryKind, url: str) -> None:
        """Prepare; nothing is reserved yet.

        Args:
            client: `InferenceServerClient` of tritonclient, HTTP or gRPC.
            kind: "system", or "cuda" for memory of the first NVIDIA GPU.
            url: the server's address, for messages.

        """
        self._client, self._kind, self._url = client, kind, url
        self._regions: dict[str, Region] = {}
        self._retired: list[Region] = []

    def put(self, tensors: Mapping[str, npt.NDArray[Any]]) -> tuple[str, dict[str, int]]:
        """Write the tensors of a request.

        Returns:
            The region's name, and where each tensor begins in it, in bytes.

        Raises:
            SharedMemoryError: if memory cannot be had, or the server cannot open it.

        """
        offsets, end = {}, 0
        for name, values in tensors.items():
            offsets[name] = end
            end += -(-values.nbytes // ALIGNMENT) * ALIGNMENT
        region = self._region("in", end)
        for name, values in tensors.items():
            region.block.write(values, offsets[name])
        return region.name, offsets

    def room(self, size: int) -> str:
        """Return the name of a region that holds an answer of `size` bytes.

        Raises:
            SharedMemoryError: if memory cannot be had, or the server cannot open it.

        """
        return self._region("out", size).name

    def answer(self, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        """Return a copy of an answer of `count` elements."""
        return self._regions["out"].block.read(dtype, count)

    def retire(self) -> None:
        """Use these regions no more: a request that was given up may still read and write there."""
        self._retired += self._regions.values()
        self._regions = {}

    def forget(self) -> None:
        """Drop regions that the server does not know (any more): it was started anew, or someone unregistered them."""
        for region in self._regions.values():
            self._release(region)
        self._regions = {}

    def close(self) -> None:
        """Unregister and free everything. A region that the server still uses stays with the server until it ends."""
        self.retire()
        give_up = time.monotonic() + LET_GO_S
        self._sweep()
        while self._retired and time.monotonic() < give_up:
            time.sleep(0.01)
            self._sweep()
        for region in self._retired:
            logger.warning("%s still uses the shared memory region %s (%d bytes)", self._url, region.name, region.size)
            region.block.free()
        self._retired = []

    def _region(self, purpose: str, size: int) -> Region:
        """Return the region for a purpose, a new one if there is none of this size."""
        region = self._regions.get(purpose)
        if region is not None and region.size >= size:
            return region
        if region is not None:
            self._retired.append(self._regions.pop(purpose))
        self._sweep()
        region = Region(self._kind, purpose, max(SMALLEST_REGION, 1 << (size - 1).bit_length()))
        try:
            region.block.register(self._client, region.name)
        except InferenceServerException as error:
            region.block.free()
            raise self._explain(error) from None
        self._regions[purpose] = region
        return region

    def _sweep(self) -> None:
        """Release retired regions; the server refuses those that a request still uses."""
        self._retired = [region for region in self._retired if not self._release(region)]

    def _release(self, region: Region) -> bool:
        """Unregister and free a region, unless the server still uses it."""
        try:
            region.block.unregister(self._client, region.name)
        except InferenceServerException as error:
            if "in use" in str(error):
                return False
        except OSError:
            pass  # no server, no registration
        region.block.free()
        return True

    def _explain(self, error: InferenceServerException) -> Exception:
        """Turn a refused registration into the error that says what the caller can do."""
        if "UNAVAILABLE" in str(error.status() or ""):
            unavailable: Exception = error
            return unavailable
        return SharedMemoryError(
            f"{self._url} takes no {self._kind} shared memory of this client: {error.message() or error}; server and "
            "client have to run on one machine, as one user, with one /dev/shm (docker: --ipc=host), and the server "
            "has to allow it: leave shared_memory out otherwise"
        )

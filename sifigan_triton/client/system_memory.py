"""Memory of the machine that a server on it can open by name, as `shm_open` gives it."""

from __future__ import annotations

import mmap
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.errors import SharedMemoryError
from sifigan_triton.client.transport import Transport

FOLDER = Path("/dev/shm")
"""Where Linux keeps the memory that `shm_open` names."""


class SystemBlock:
    """A block of the machine's memory. Its key is gone as soon as the server has opened it: nothing is left behind."""

    def __init__(self, size: int) -> None:
        """Reserve `size` bytes.

        Raises:
            SharedMemoryError: if the folder takes no files, or has no room.

        """
        self._size = size
        self._key = FOLDER / f"sifigan-client-{os.getpid()}-{secrets.token_hex(6)}"
        try:
            descriptor = os.open(self._key, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        except OSError as error:
            raise SharedMemoryError(
                f"no shared memory can be made in {FOLDER}: {error.strerror}; make it a folder this process may write "
                "to, or leave shared_memory out"
            ) from None
        try:
            os.posix_fallocate(descriptor, 0, size)  # a full /dev/shm is told here, not by SIGBUS in `write`
            self._memory = mmap.mmap(descriptor, size)
        except OSError as error:
            raise SharedMemoryError(
                f"no {size:,} bytes of shared memory in {FOLDER}: {error.strerror}; make it larger (docker: "
                "--shm-size) or leave shared_memory out"
            ) from None
        finally:
            os.close(descriptor)
            if not hasattr(self, "_memory"):
                self._key.unlink()

    def register(self, transport: Transport, name: str, deadline: Deadline) -> None:
        """Make the block known to a server."""
        try:
            transport.register_system_shared_memory(name, f"/{self._key.name}", self._size, deadline)
        finally:
            self._key.unlink(missing_ok=True)

    def unregister(self, transport: Transport, name: str, deadline: Deadline) -> None:
        """Make the server forget the block."""
        transport.unregister_system_shared_memory(name, deadline)

    def write(self, values: npt.NDArray[Any], offset: int) -> None:
        """Copy an array to `offset` bytes from the beginning."""
        np.frombuffer(self._memory, values.dtype, values.size, offset)[:] = values.ravel()

    def read(self, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        """Return a copy of the first `count` elements."""
        return np.frombuffer(self._memory, dtype, count).copy()

    def free(self) -> None:
        """Give the memory back."""
        self._memory.close()

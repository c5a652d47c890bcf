"""Memory of an NVIDIA GPU that a server on the same machine can open, through the driver's own library.

Written after the CUDA driver API (docs.nvidia.com/cuda/cuda-driver-api); it has been run against a stand-in only.
"""

from __future__ import annotations

import base64
import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.errors import SharedMemoryError
from sifigan_triton.client.transport import Transport

LIBRARY = "libcuda.so.1"
"""The driver's library: wherever there is a GPU, it is there."""
HANDLE_SIZE = 64
"""Bytes of a CUipcMemHandle."""
DEVICE = 0
_Handle = ctypes.c_char * HANDLE_SIZE


def load_driver() -> Any:
    """Load the driver's library.

    Raises:
        SharedMemoryError: if there is none.

    """
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise SharedMemoryError(
            f"CUDA shared memory needs an NVIDIA GPU and its driver: {error}; use shared_memory='system'"
        ) from None


class CudaBlock:
    """A block of memory on the first GPU, in its primary context, which PyTorch and TensorRT use too."""

    def __init__(self, size: int) -> None:
        """Reserve `size` bytes."""
        self._driver, self._size = load_driver(), size
        self._context, self._address = ctypes.c_void_p(), ctypes.c_uint64()
        device = ctypes.c_int()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(DEVICE))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        try:
            self._call_here("cuMemAlloc_v2", ctypes.byref(self._address), ctypes.c_size_t(size))
        except BaseException:
            self._call("cuDevicePrimaryCtxRelease_v2", ctypes.c_int(DEVICE))
            raise

    def register(self, transport: Transport, name: str, deadline: Deadline) -> None:
        """Make the block known to a server."""
        handle = _Handle()
        self._call_here("cuIpcGetMemHandle", ctypes.byref(handle), self._address)
        transport.register_cuda_shared_memory(name, base64.b64encode(bytes(handle)), DEVICE, self._size, deadline)

    def unregister(self, transport: Transport, name: str, deadline: Deadline) -> None:
        """Make the server forget the block."""
        transport.unregister_cuda_shared_memory(name, deadline)

    def write(self, values: npt.NDArray[Any], offset: int) -> None:
        """Copy an array, contiguous, to `offset` bytes from the beginning."""
        target = ctypes.c_uint64(self._address.value + offset)
        source = ctypes.c_void_p(values.ctypes.data)
        self._call_here("cuMemcpyHtoD_v2", target, source, ctypes.c_size_t(values.nbytes))

    def read(self, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        """Return a copy of the first `count` elements."""
        values = np.empty(count, dtype)
        target = ctypes.c_void_p(values.ctypes.data)
        self._call_here("cuMemcpyDtoH_v2", target, self._address, ctypes.c_size_t(values.nbytes))
        return values

    def free(self) -> None:
        """Give the memory back."""
        try:
            self._call_here("cuMemFree_v2", self._address)
        finally:
            self._call("cuDevicePrimaryCtxRelease_v2", ctypes.c_int(DEVICE))

    def _call_here(self, function: str, *arguments: Any) -> None:
        """Call a function of the driver in the device's context; the thread's own context comes back afterwards."""
        self._call("cuCtxPushCurrent_v2", self._context)
        try:
            self._call(function, *arguments)
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def _call(self, function: str, *arguments: Any) -> None:
        """Call a function of the driver."""
        status = getattr(self._driver, function)(*arguments)
        if status:
            raise SharedMemoryError(f"{function} failed with CUDA error {status} on GPU {DEVICE}, {self._size:,} bytes")

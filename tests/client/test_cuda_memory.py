"""CUDA shared memory of the client, against a stand-in of the driver and of the server: no GPU is needed."""

from __future__ import annotations

import base64
import ctypes
from typing import Any

import numpy as np
import pytest

from sifigan_triton.client import ServerUnavailableError, SharedMemoryError, SifiganClient, cuda_memory
from sifigan_triton.client.cuda_memory import CudaBlock
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.shared_memory import SharedMemory

ARGUMENTS = (np.full(2, 100.0), np.zeros((2, 40)), np.zeros((2, 3)))


class Driver:
    """Takes the driver's calls; device memory is the process's own."""

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.retained = self.depth = 0
        self.failing = ""

    def __getattr__(self, name: str) -> Any:
        if name == self.failing:
            return lambda *arguments: 2
        return lambda *arguments: getattr(self, f"_{name.removesuffix('_v2')}")(*arguments) or 0

    def _cuInit(self, flags: Any) -> None:  # noqa: N802 - the driver's names
        assert flags.value == 0

    def _cuDeviceGet(self, device: Any, ordinal: Any) -> None:  # noqa: N802
        device._obj.value = ordinal.value

    def _cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> None:  # noqa: N802
        self.retained += 1
        context._obj.value = 7

    def _cuDevicePrimaryCtxRelease(self, device: Any) -> None:  # noqa: N802
        self.retained -= 1

    def _cuCtxPushCurrent(self, context: Any) -> None:  # noqa: N802
        assert context.value == 7
        self.depth += 1

    def _cuCtxPopCurrent(self, context: Any) -> None:  # noqa: N802
        self.depth -= 1

    def _cuMemAlloc(self, address: Any, size: Any) -> None:  # noqa: N802
        assert self.depth == 1
        memory = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(memory)
        self.memory[address._obj.value] = memory

    def _cuMemFree(self, address: Any) -> None:  # noqa: N802
        assert self.depth == 1
        del self.memory[address.value]

    def _cuIpcGetMemHandle(self, handle: Any, address: Any) -> None:  # noqa: N802
        ctypes.memmove(handle._obj, address.value.to_bytes(64, "little"), 64)

    def _cuMemcpyHtoD(self, target: Any, source: Any, size: Any) -> None:  # noqa: N802
        assert self.depth == 1
        ctypes.memmove(target.value, source.value, size.value)

    def _cuMemcpyDtoH(self, target: Any, source: Any, size: Any) -> None:  # noqa: N802
        assert self.depth == 1
        ctypes.memmove(target.value, source.value, size.value)


class Server:
    """Takes the client's registrations."""

    def __init__(self) -> None:
        self.regions: dict[str, tuple[int, int]] = {}

    def register_cuda_shared_memory(self, name: str, handle: bytes, device: int, size: int, deadline: Deadline) -> None:
        assert device == 0
        self.regions[name] = int.from_bytes(base64.b64decode(handle), "little"), size

    def unregister_cuda_shared_memory(self, name: str, deadline: Deadline) -> None:
        del self.regions[name]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    monkeypatch.setattr(cuda_memory, "load_driver", lambda: driver)
    return driver


def test_tensors_lie_where_the_server_is_told(driver: Driver) -> None:
    server = Server()
    memory = SharedMemory(server, "cuda", "localhost:8000")
    tensors = {"f0": np.arange(5, dtype=np.float32), "mcep": np.ones((5, 40), np.float32), "seed": np.array([3])}
    places = memory.put(tensors, Deadline(5.0))
    (region,) = {place.region for place in places.values()}
    address, size = server.regions[region]
    device = bytes(driver.memory[address])
    assert len(device) == size
    for name, values in tensors.items():
        assert device[places[name].offset : places[name].offset + places[name].size] == values.tobytes()
        assert places[name].offset % 64 == 0

    address, _ = server.regions[memory.room(40, Deadline(5.0)).region]
    driver.memory[address][:40] = np.arange(10, dtype=np.float32).tobytes()
    assert memory.answer(np.float32, 10).tolist() == list(range(10))

    memory.close()
    assert not server.regions
    assert not driver.memory
    assert (driver.retained, driver.depth) == (0, 0)


def test_failure_names_the_call(driver: Driver) -> None:
    driver.failing = "cuMemAlloc_v2"
    with pytest.raises(SharedMemoryError, match=r"cuMemAlloc_v2 failed with CUDA error 2 on GPU 0, 4,096 bytes"):
        CudaBlock(4096)
    assert (driver.retained, driver.depth) == (0, 0)


def test_machine_without_a_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_memory, "LIBRARY", "libnothing.so.1")
    with (
        SifiganClient("127.0.0.1:1", shared_memory="cuda") as client,
        pytest.raises(SharedMemoryError, match=r"needs an NVIDIA GPU and its driver: libnothing\.so\.1"),
    ):
        client.synthesize(*ARGUMENTS)


@pytest.mark.parametrize("scheme", ["", "grpc://"], ids=["http", "grpc"])
def test_memory_is_given_back_where_no_server_answers(driver: Driver, scheme: str) -> None:
    with (
        SifiganClient(f"{scheme}127.0.0.1:1", shared_memory="cuda", retries=0) as client,
        pytest.raises(ServerUnavailableError, match="no Triton server answers"),
    ):
        client.synthesize(*ARGUMENTS)
    assert not driver.memory
    assert (driver.retained, driver.depth) == (0, 0)


@pytest.mark.parametrize("failing", ["cuIpcGetMemHandle", "cuMemcpyHtoD_v2"])
def test_memory_is_given_back_where_the_driver_fails(driver: Driver, failing: str) -> None:
    driver.failing = failing
    memory = SharedMemory(Server(), "cuda", "localhost:8000")
    with pytest.raises(SharedMemoryError, match=f"{failing} failed"):
        memory.put({"f0": np.ones(5, np.float32)}, Deadline(5.0))
    memory.close()
    assert not driver.memory
    assert (driver.retained, driver.depth) == (0, 0)


def test_memory_is_given_back_where_registering_is_interrupted(driver: Driver) -> None:
    class Interrupted(Server):
        def register_cuda_shared_memory(self, *_: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SharedMemory(Interrupted(), "cuda", "localhost:8000").room(40, Deadline(5.0))
    assert not driver.memory
    assert driver.retained == 0


def test_block_that_cannot_be_freed_does_not_keep_the_others(driver: Driver) -> None:
    server = Server()
    memory = SharedMemory(server, "cuda", "localhost:8000")
    memory.put({"f0": np.ones(5, np.float32)}, Deadline(5.0))
    memory.room(40, Deadline(5.0))
    driver.failing = "cuMemFree_v2"
    memory.close()
    assert not server.regions
    assert driver.retained == 0
    memory.close()

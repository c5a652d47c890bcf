"""The client's shared memory: the same audio through the real server, regions used again, nothing left behind."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc

from benchmarks.tracks import shipped
from sifigan_triton.client import (
    ServerUnavailableError,
    SharedMemoryError,
    SifiganClient,
    SynthesisError,
    SynthesisTimeoutError,
    system_memory,
)
from sifigan_triton.server.triton_server import TritonServer
from tests.conftest import Deployment

REQUEST = shipped("short")[0].first(60)
ARGUMENTS = (REQUEST.f0, REQUEST.mcep, REQUEST.bap)

LONG_FRAMES = -1
MODEL = """
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.respond(request) for request in requests]

    def respond(self, request):
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        time.sleep(max(int(tensors["seed"][0]), 0) / 1e3)
        if not (tensors["f0"].size and tensors["f0"][0] > 0):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"f0 of {tensors['f0'].size} frames"))
        value = tensors["f0"] * tensors["f0_factor"] + tensors["mcep"].sum(1) + tensors["bap"].sum(1)
        samples = np.repeat(value, 8 if tensors["seed"][0] < 0 else 4)
        outputs = {"waveform": samples.astype(np.float32), "pcm16": samples.astype(np.int16)}
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, outputs[name]) for name in wanted])
"""
CONFIG = """
backend: "python"
max_batch_size: 0
instance_group [ { kind: KIND_CPU count: 2 } ]
input [
  { name: "f0" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "mcep" data_type: TYPE_FP32 dims: [ -1, 40 ] },
  { name: "bap" data_type: TYPE_FP32 dims: [ -1, 3 ] },
  { name: "f0_factor" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "seed" data_type: TYPE_INT64 dims: [ 1 ] },
  { name: "repair" data_type: TYPE_BOOL dims: [ 1 ] }
]
output [ { name: "waveform" data_type: TYPE_FP32 dims: [ -1 ] }, { name: "pcm16" data_type: TYPE_INT16 dims: [ -1 ] } ]
"""


def toy(folder: Path) -> Path:
    """Write a model with the ensemble's tensors; `seed` is how many milliseconds it takes; -1: longer frames."""
    version = folder / "sifigan" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL, encoding="utf-8")
    (folder / "sifigan" / "config.pbtxt").write_text(CONFIG, encoding="utf-8")
    return folder


def features(frames: int, value: float = 100.0) -> tuple[Any, Any, Any]:
    return np.full(frames, value, np.float32), np.zeros((frames, 40), np.float32), np.zeros((frames, 3), np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = toy(tmp_path_factory.mktemp("models"))
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, server: TritonServer) -> str:
    return server.http_url if request.param == "http" else f"grpc://{server.grpc_url}"


def known_regions(server: TritonServer) -> dict[str, int]:
    """Bytes of every region that the server knows."""
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        status = client.get_system_shared_memory_status(as_json=True)
    return {name: int(region["byte_size"]) for name, region in status.get("regions", {}).items()}


def keys() -> list[str]:
    """What this process has left in /dev/shm."""
    return [path.name for path in Path("/dev/shm").glob(f"sifigan-client-{os.getpid()}-*")]


@pytest.mark.server
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_audio_is_that_of_a_sent_request(small_deployment: Deployment, protocol: str) -> None:
    address = small_deployment.urls[protocol]
    with SifiganClient(address) as sent, SifiganClient(address, shared_memory="system") as shared:
        for length in (60, 40):  # the second and all later answers come through shared memory
            cut = [values[:length] for values in ARGUMENTS]
            assert np.array_equal(shared.synthesize(*cut, seed=length), sent.synthesize(*cut, seed=length))
        pcm16 = shared.synthesize_pcm16(*ARGUMENTS, f0_factor=1.5)
        assert pcm16.dtype == np.int16
        assert np.array_equal(pcm16, sent.synthesize_pcm16(*ARGUMENTS, f0_factor=1.5))
        with pytest.raises(SynthesisError, match="mcep has 60 frames, expected 59 as in f0"):
            shared.synthesize(REQUEST.f0[:-1], REQUEST.mcep, REQUEST.bap)


@pytest.mark.server
def test_regions_are_used_again_and_gone_after_close(server: TritonServer, url: str) -> None:
    with SifiganClient(url, shared_memory="system") as client:
        answers = [client.synthesize(*features(100, value)) for value in (1.0, 2.0, 3.0)]
        first = known_regions(server)
        assert len(first) == 2  # one for requests, one for answers
        assert [set(answer) for answer in answers] == [{1.0}, {2.0}, {3.0}]  # copies: later answers do not change them
        client.synthesize(*features(90))
        assert known_regions(server) == first
        assert client.synthesize(*features(40_000)).size == 160_000  # neither fits any more
        grown = known_regions(server)
        assert len(grown) == 2
        assert not set(grown) & set(first)
        assert not keys()  # nothing is left even if this process dies now
    assert not known_regions(server)


@pytest.mark.server
def test_refusal_keeps_the_regions(server: TritonServer, url: str) -> None:
    with SifiganClient(url, shared_memory="system") as client:
        client.synthesize(*features(10))
        client.synthesize(*features(10))
        before = known_regions(server)
        for refused in (0, 3):
            with pytest.raises(SynthesisError, match=f"f0 of {refused} frames"):
                client.synthesize(*features(refused, -1.0))
        assert client.synthesize(*features(10)).size == 40
        assert known_regions(server) == before


@pytest.mark.server
def test_request_given_up_keeps_its_regions_to_itself(server: TritonServer, url: str) -> None:
    with SifiganClient(url, shared_memory="system", timeout_s=0.2) as client:
        client.synthesize(*features(100, 1.0))
        client.synthesize(*features(100, 1.0))
        held = set(known_regions(server))
        with pytest.raises(SynthesisTimeoutError):
            client.synthesize(*features(100, 2.0), seed=600)
        for value in (3.0, 4.0):
            assert set(client.synthesize(*features(100, value))) == {value}
        assert held < set(known_regions(server))  # the server does not let go of what it still uses
        time.sleep(0.6)
    assert not known_regions(server)


@pytest.mark.server
def test_server_that_lost_the_regions_gets_new_ones(server: TritonServer, url: str) -> None:
    with SifiganClient(url, shared_memory="system") as client:
        client.synthesize(*features(10))
        client.synthesize(*features(10))
        with tritonclient.grpc.InferenceServerClient(server.grpc_url) as other:
            other.unregister_system_shared_memory()  # what a restart does, and perf_analyzer
        assert set(client.synthesize(*features(10, 7.0))) == {7.0}
        assert len(known_regions(server)) == 1  # the answer tells anew how long later ones are
        assert set(client.synthesize(*features(10, 8.0))) == {8.0}
        assert len(known_regions(server)) == 2


@pytest.mark.server
def test_voice_with_longer_frames_behind_the_same_name(url: str) -> None:
    with SifiganClient(url, shared_memory="system") as client:
        sizes = [client.synthesize(*features(20_000), seed=seed).size for seed in (0, 0, LONG_FRAMES, LONG_FRAMES)]
    assert sizes == [80_000, 80_000, 160_000, 160_000]


@pytest.mark.server
def test_server_on_another_machine_is_told(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(system_memory, "FOLDER", tmp_path)  # memory that the server does not see
    message = rf"{url} takes no system shared memory of this client: .*Unable to open.* on one machine"
    with SifiganClient(url, shared_memory="system") as client, pytest.raises(SharedMemoryError, match=message):
        client.synthesize(*ARGUMENTS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scheme", ["", "grpc://"], ids=["http", "grpc"])
def test_no_server(scheme: str) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"{scheme}127.0.0.1:{reserved.getsockname()[1]}"
        with SifiganClient(url, shared_memory="system") as client, pytest.raises(ServerUnavailableError, match=url):
            client.synthesize(*ARGUMENTS)
    assert not keys()


def test_full_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        SifiganClient("127.0.0.1:1", shared_memory="system") as client,
        pytest.raises(SharedMemoryError, match=r"no 65,536 bytes of shared memory in /dev/shm: No space .* --shm-size"),
    ):
        client.synthesize(*ARGUMENTS)
    assert not keys()


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="shared_memory is 'sistem', expected 'system', 'cuda' or None"):
        SifiganClient("localhost:8000", shared_memory="sistem")  # type: ignore[arg-type]

"""The client's shared memory: the same audio through the real server, regions used again, nothing left behind."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from pathlib import Path

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
    grpc_transport,
    http_transport,
    system_memory,
)
from sifigan_triton.server.triton_server import TritonServer
from tests.client.toy_ensemble import LONG_FRAMES, features, toy
from tests.conftest import Deployment

REQUEST = shipped("short")[0].first(60)
ARGUMENTS = (REQUEST.f0, REQUEST.mcep, REQUEST.bap)


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
    with SifiganClient(url, shared_memory="system") as client:
        client.synthesize(*features(100, 1.0))
        client.synthesize(*features(100, 1.0))
        held = set(known_regions(server))
        with pytest.raises(SynthesisTimeoutError):
            client.synthesize(*features(100, 2.0), seed=600, timeout_s=0.2)
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
        with (
            SifiganClient(url, shared_memory="system", retries=0) as client,
            pytest.raises(ServerUnavailableError, match=url),
        ):
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


def mapped() -> list[str]:
    """The blocks that this process holds."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return [line for line in maps if f"sifigan-client-{os.getpid()}-" in line]


@pytest.mark.parametrize("scheme", ["", "grpc://"], ids=["http", "grpc"])
@pytest.mark.parametrize(
    ("folder", "reason"), [("missing", "No such file"), ("file", "Not a directory")], ids=["missing", "file"]
)
def test_unusable_folder_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheme: str, folder: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(system_memory, "FOLDER", tmp_path / folder)
    message = f"no shared memory can be made in {tmp_path / folder}: {reason}.* or leave shared_memory out"
    with (
        SifiganClient(f"{scheme}127.0.0.1:1", shared_memory="system") as client,
        pytest.raises(SharedMemoryError, match=message),
    ):
        client.synthesize(*ARGUMENTS)


def test_block_that_does_not_fit_leaves_nothing() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with (
            SifiganClient("127.0.0.1:1", shared_memory="system") as client,
            pytest.raises(SharedMemoryError, match=r"no 65,536 bytes of shared memory in /dev/shm: .*--shm-size"),
        ):
            client.synthesize(*ARGUMENTS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not keys()
    assert not mapped()


@pytest.mark.server
@pytest.mark.parametrize("fate", ["stopped", "hangs"])
def test_server_that_is_gone_keeps_neither_memory_nor_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    for transport in (http_transport, grpc_transport):
        monkeypatch.setattr(transport, "LET_GO_TIMEOUT_S", 0.5)
    with TritonServer(toy(tmp_path), http_port=0, grpc_port=0, metrics_port=0, client_shared_memory=True) as own:
        clients = [
            SifiganClient(address, shared_memory="system", timeout_s=60.0, retries=0)
            for address in (own.http_url, f"grpc://{own.grpc_url}")
        ]
        for client in clients * 2:
            client.synthesize(*features(10))
        assert len(mapped()) == 4
        assert own.pid is not None
        if fate == "stopped":
            own.stop()
            for client in clients:
                with pytest.raises(ServerUnavailableError, match=client.url):
                    client.synthesize(*features(10))
        else:
            os.kill(own.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            for client in clients:
                client.close()
            assert time.monotonic() - started < 10.0
        finally:
            if fate == "hangs":
                os.kill(own.pid, signal.SIGCONT)
    assert not mapped()
    assert not keys()

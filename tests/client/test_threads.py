"""One client that many threads share, against the real server."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.tracks import shipped
from sifigan_triton.client import ServerUnavailableError, SifiganClient
from sifigan_triton.server.triton_server import TritonServer
from tests.client.toy_ensemble import features, toy
from tests.conftest import Deployment

pytestmark = pytest.mark.server

THREADS, EACH = 8, 3
LONGEST_S = 60.0
WAYS = {"http": ("http", None), "grpc": ("grpc", None), "http-shm": ("http", "system"), "grpc-shm": ("grpc", "system")}


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return WAYS[request.param]


def url(server: TritonServer, protocol: str) -> str:
    return server.http_url if protocol == "http" else f"grpc://{server.grpc_url}"


def run_together(*jobs: Callable[[], Any]) -> list[Any]:
    """Run jobs in threads of their own; return what each returned or raised. A thread that hangs fails the test."""
    results: list[Any] = ["hangs"] * len(jobs)

    def run(index: int) -> None:
        try:
            results[index] = jobs[index]()
        except (RuntimeError, OSError) as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    give_up = time.monotonic() + LONGEST_S
    for thread in threads:
        thread.join(max(0.0, give_up - time.monotonic()))
    return results


def test_threads_get_the_audio_of_a_lone_client(small_deployment: Deployment, way: tuple[str, Any]) -> None:
    protocol, memory = way
    sung, address = shipped("short")[0], small_deployment.urls[protocol]

    def synthesize(client: SifiganClient, job: int) -> npt.NDArray[np.float32]:
        cut = sung.first(20 + 3 * job)
        return client.synthesize(cut.f0, cut.mcep, cut.bap, seed=job)

    with SifiganClient(address, shared_memory=memory, timeout_s=30.0) as client:

        def several(thread: int) -> list[npt.NDArray[np.float32]]:
            return [synthesize(client, thread * EACH + turn) for turn in range(EACH)]

        together = run_together(*(lambda thread=thread: several(thread) for thread in range(THREADS)))
        assert not [result for result in together if not isinstance(result, list)]
    for thread, answers in enumerate(together):
        for turn, answer in enumerate(answers):
            with SifiganClient(address) as lone:
                assert np.array_equal(answer, synthesize(lone, thread * EACH + turn))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_asyncio_to_thread(server: TritonServer, protocol: str) -> None:
    script = f"""
        import asyncio

        import numpy as np

        from sifigan_triton.client import SifiganClient

        async def main():
            with SifiganClient({url(server, protocol)!r}, timeout_s=10.0) as client:
                def synthesize(value):
                    f0 = np.full(50, value, np.float32)
                    return client.synthesize(f0, np.zeros((50, 40)), np.zeros((50, 3)), seed=20)
                answers = await asyncio.gather(*[asyncio.to_thread(synthesize, v) for v in range(1, 21)])
            print([set(answer.tolist()) for answer in answers] == [{{float(v)}} for v in range(1, 21)])
    """
    text = textwrap.dedent(script) + "\nasyncio.run(main())\n"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_close_waits_for_other_threads_and_refuses_later_ones(server: TritonServer, way: tuple[str, Any]) -> None:
    protocol, memory = way
    client = SifiganClient(url(server, protocol), shared_memory=memory, timeout_s=30.0)
    for _ in range(2):
        client.synthesize(*features(10))

    def long_request() -> set[float]:
        return set(client.synthesize(*features(10, 5.0), seed=800).tolist())

    def close() -> float:
        while not client._under_way:
            time.sleep(0.01)
        before = time.monotonic()
        client.close()
        return time.monotonic() - before

    answer, closing_s = run_together(long_request, close)
    assert answer == {5.0}
    assert 0.3 < closing_s < 5.0
    with pytest.raises(ServerUnavailableError, match="has been closed: open a new one"):
        client.synthesize(*features(10))
    with pytest.raises(ServerUnavailableError, match="has been closed: open a new one"):
        client.steps()
    client.close()


def test_server_started_anew_is_found_again(tmp_path: Path) -> None:
    models = toy(tmp_path)
    with TritonServer(models, http_port=0, grpc_port=0, metrics_port=0, client_shared_memory=True) as first:
        http, grpc = (int(address.rpartition(":")[2]) for address in (first.http_url, first.grpc_url))
        clients = [
            SifiganClient(url(first, protocol), shared_memory=memory, timeout_s=30.0, retries=0)  # type: ignore[arg-type]
            for protocol, memory in WAYS.values()
        ]
        jobs = [lambda client=client: set(client.synthesize(*features(10, 5.0), seed=100)) for client in clients * 3]
        for _ in range(2):
            assert run_together(*jobs) == [{5.0}] * len(jobs)
    assert all(isinstance(result, ServerUnavailableError) for result in run_together(*jobs))
    with TritonServer(models, http_port=http, grpc_port=grpc, metrics_port=0, client_shared_memory=True):
        give_up = time.monotonic() + 20.0  # gRPC waits a little before it connects again
        while isinstance(run_together(*jobs)[1], ServerUnavailableError):
            assert time.monotonic() < give_up
            time.sleep(0.2)
        assert run_together(*jobs) == [{5.0}] * len(jobs)
        for client in clients:
            client.close()

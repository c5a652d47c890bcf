"""The service: what happens when its parts die, and when it shall stop. With a real Envoy and a real Triton."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sifigan_triton.server.front import Limits, Ports
from sifigan_triton.server.service import Service, ServiceOptions
from sifigan_triton.server.triton_server import ServerError
from tests.toy_models import IDENTITY, write_python_model

pytestmark = pytest.mark.server

CODE = """
import logging, sys
from pathlib import Path
from sifigan_triton.server import service
from sifigan_triton.server.front import Ports
logging.basicConfig(format="%(levelname)s: %(message)s")
folder = Path(sys.argv[1])
service.LOG_BYTES = 20_000
options = service.ServiceOptions(
    folder / "models", (), probed=(), ports=Ports(0, 0, 0), logs=folder / "out", grace_s=float(sys.argv[2])
)
served = service.Service(options)
served.run(lambda: print(served.http_url, flush=True))
"""
WAIT = """
        import pathlib, time
        folder = pathlib.Path(__file__).parent
        if inputs[0][0] > 0:
            (folder / "begun").touch()
            while not (folder / "go").exists():
                time.sleep(0.01)
"""
WAITING = IDENTITY.replace("        return", f"{WAIT}        return")
"""A model that says when it has a call, and is told when to answer it."""


class Owner:
    """A process that runs a service."""

    def __init__(self, folder: Path, grace_s: float = 30.0) -> None:
        self.folder = folder
        self.model = write_python_model(folder / "models", "identity", WAITING) / "1"
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE, str(folder), str(grace_s)],
            stdout=subprocess.PIPE,
            stderr=(folder / "said").open("w"),
            text=True,
            env=os.environ | {"TMPDIR": str(folder)},
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.said

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def child(self, name: str, parent: int | None = None) -> int:
        """Return the one process of this name below another."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                head, _, tail = stat.read_text().rpartition(")")
            except OSError:
                continue
            if int(tail.split()[1]) == (parent or self.process.pid) and head.partition("(")[2].startswith(name):
                found.append(int(head.partition("(")[0]))
        (one,) = found
        return one

    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection(self.url, timeout=60.0)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def infer(self, waits: bool = False) -> int:
        """Return the status of a call, which may wait until it is told to go; 0 if it lost its connection."""
        tensor = {"name": "f0", "datatype": "FP32", "shape": [1], "data": [float(waits)]}
        connection = http.client.HTTPConnection(self.url, timeout=60.0)
        try:
            connection.request("POST", "/v2/models/identity/infer", json.dumps({"inputs": [tensor]}))
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path)
    yield owner
    owner.process.kill()
    owner.process.wait()


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def in_background(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_what_dies_is_started_again(owner: Owner) -> None:
    """One service goes through all of it: callers meet 503 and nothing else, then it serves again, by itself."""
    assert owner.infer() == 200

    def stub() -> int:
        return owner.child("triton_python_b", owner.child("tritonserver"))

    faults: list[tuple[str, Callable[[], None]]] = [
        ("ended by itself (exit status -9)", lambda: os.kill(owner.child("tritonserver"), signal.SIGKILL)),
        ("1 of 1 processes of its Python models died or were stopped", lambda: os.kill(stub(), signal.SIGKILL)),
        ("in 2 s: 1 of 1 processes", lambda: os.kill(stub(), signal.SIGSTOP)),
    ]
    for count, (reason, strike) in enumerate(faults, start=1):
        strike()
        until(lambda: owner.said.count("is started again") == count)  # noqa: B023 - called at once
        assert reason in owner.said.splitlines()[-1]
        met = set()
        until(lambda: met.add(owner.infer()) or 200 in met)  # type: ignore[func-returns-value]  # noqa: B023
        assert met <= {200, 503}
        assert owner.said.count("serves again after") == count
    os.kill(owner.child("envoy"), signal.SIGKILL)
    until(lambda: "the proxy is started again: it ended with status -9" in owner.said)
    until(lambda: owner.infer() == 200)
    assert owner.said.count("\n") == 7  # one line for each thing that was done
    owner.process.send_signal(signal.SIGTERM)
    assert owner.process.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_stopping_loses_nothing(owner: Owner, number: signal.Signals) -> None:
    answers: list[int] = []
    maps = Path(f"/proc/{owner.child('tritonserver')}/maps").read_text().split()
    (prefix,) = {Path(name).name[:27] for name in maps if name.startswith("/dev/shm/sifigan_triton_")}
    waiting = in_background(lambda: answers.append(owner.infer(waits=True)))
    until(lambda: (owner.model / "begun").exists())
    owner.process.send_signal(number)
    until(lambda: not owner.is_ready())
    assert owner.infer() == 503
    assert answers == []
    (owner.model / "go").touch()
    waiting.join()
    assert answers == [200]
    assert owner.process.wait(60) == 0
    assert owner.said == ""
    assert [*owner.folder.glob("sifigan-*"), *Path("/dev/shm").glob(f"{prefix}*")] == []


def test_the_grace_ends(tmp_path: Path) -> None:
    owner = Owner(tmp_path, grace_s=0.5)
    answers: list[int] = []
    waiting = in_background(lambda: answers.append(owner.infer(waits=True)))
    until(lambda: (owner.model / "begun").exists())
    owner.process.send_signal(signal.SIGTERM)
    assert owner.process.wait(20) == 0
    waiting.join()
    assert answers[0] in (0, 503)
    assert "the grace of 0.5 s is over, 1 calls in flight are lost" in owner.said


def test_logs_stay_small(owner: Owner) -> None:
    log = owner.folder / "out" / "front.log"
    while not log.with_name("front.log.1").exists():
        connection = http.client.HTTPConnection(owner.url, timeout=10.0)
        connection.request("GET", "/" + "x" * 200)
        connection.getresponse().read()
        connection.close()
    until(lambda: log.stat().st_size < 20_000)
    assert owner.infer() == 200


def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    broken = IDENTITY.replace(
        "def execute", 'def initialize(self, args):\n        raise ValueError("no voice")\n    def execute'
    )
    write_python_model(tmp_path / "models", "identity", broken)
    options = ServiceOptions(tmp_path / "models", (), probed=(), ports=Ports(0, 0, 0), logs=tmp_path / "out")
    with pytest.raises(ServerError, match="no voice"):
        Service(options).run(lambda: None)


def test_memory_of_clients_is_for_this_machine(tmp_path: Path) -> None:
    with pytest.raises(
        ServerError, match=r"client shared memory is for this machine, and .* would listen on 0\.0\.0\.0"
    ):
        Service(ServiceOptions(tmp_path, (), host="0.0.0.0", client_shared_memory=True))


def test_long_calls_have_places_of_their_own() -> None:
    assert [Limits(count).long_in_flight for count in (1, 4, 8, 100)] == [1, 1, 2, 25]

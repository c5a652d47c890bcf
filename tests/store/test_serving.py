"""Serving from an object store: with a real Triton, a real Envoy, and a server that speaks S3."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sifigan_triton.server.front import Ports
from sifigan_triton.server.service import Service, ServiceOptions
from sifigan_triton.server.source import Source
from sifigan_triton.server.triton_server import TritonServer
from sifigan_triton.store.address import Address
from sifigan_triton.store.publish import publish, roll_back
from sifigan_triton.store.release import release_key
from tests.toy_models import IDENTITY, write_ensemble, write_python_model

pytestmark = pytest.mark.server


def toy(folder: Path, value: int) -> Path:
    """Write a repository whose answers are this much more than what they are asked, and take 0.2 s."""
    code = IDENTITY.replace('pb_utils.Tensor("waveform", x)', f'pb_utils.Tensor("waveform", x + {value})')
    slow = code.replace("        return", "        import time; time.sleep(0.2)\n        return")
    write_python_model(folder, "identity", slow)
    (write_ensemble(folder, "sifigan") / "1" / "README").write_text("a store has no empty folders\n")
    return folder


def infer(url: str) -> object:
    """Return the answer to 0, else what came instead."""
    tensor = {"name": "f0", "datatype": "FP32", "shape": [1], "data": [0.0]}
    connection = http.client.HTTPConnection(url, timeout=60.0)
    try:
        connection.request("POST", "/v2/models/sifigan/infer", json.dumps({"inputs": [tensor]}))
        response = connection.getresponse()
        body = response.read()
        return json.loads(body)["outputs"][0]["data"][0] if response.status == 200 else (response.status, body)
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_new_release_is_served_without_losing_a_call(
    address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published, published anew in a broken form, rolled back: every answer is of the one release or the other."""
    monkeypatch.setenv("SIFIGAN_CACHE", str(tmp_path / "cache"))
    source, met, over = Source(address), Counter[object](), threading.Event()
    one = publish(toy(tmp_path / "one", 1), address).release.id

    def read() -> ServiceOptions:
        return ServiceOptions(
            source.fetch(), ("sifigan",), probed=(), ports=Ports(0, 0, 0), logs=tmp_path / "out", again=read,
            follow_s=0.2, moved=source.moved,
        )  # fmt: skip

    service = Service(read())

    def ask() -> None:
        while not over.is_set():
            met[infer(service.http_url)] += 1

    def drive() -> None:
        callers = [threading.Thread(target=ask) for _ in range(2)]
        for caller in callers:
            caller.start()
        try:
            until(lambda: met[1.0] > 0)
            publish(toy(tmp_path / "two", 2), address)
            until(lambda: met[2.0] > 0)
            seen = met[1.0]
            time.sleep(0.5)
            assert met[1.0] <= seen + 2  # those that were under way
            broken = toy(tmp_path / "broken", 3)
            (broken / "identity" / "1" / "model.py").write_text("raise ValueError('no voice')\n")
            publish(broken, address)
            until(lambda: service._renewal is not None)
            until(lambda: service._renewal is None)
            assert infer(service.http_url) == 2.0
            roll_back(Address(address.bucket, address.prefix, one))
            seen = met[1.0]
            until(lambda: met[1.0] > seen)
        except BaseException as error:  # noqa: BLE001 - raised by the main thread
            failed.append(error)
        finally:
            over.set()
            for caller in callers:
                caller.join()
            service._stopping.set()

    failed: list[BaseException] = []
    service.run(lambda: threading.Thread(target=drive).start())
    assert failed == []
    assert set(met) == {1.0, 2.0}


def test_a_bare_triton_loads_a_release(address: Address, server: str, tmp_path: Path) -> None:
    """For those who run `tritonserver` by itself: a release is a model repository, as it lies there."""
    release = publish(toy(tmp_path / "one", 1), address).release.id
    place = f"{address.bucket}/{address.key(release_key(release)).rstrip('/')}"
    stored = f"--model-repository=s3://{server}/{place}"
    (tmp_path / "empty").mkdir()
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    with TritonServer(tmp_path / "empty", **ports, arguments=[stored]) as triton:
        assert infer(triton.http_url) == 1.0

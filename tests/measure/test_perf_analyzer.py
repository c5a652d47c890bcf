"""Load from the real perf_analyzer: what it says when it fails."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sifigan_triton.measure.perf_analyzer import PerfError, send
from sifigan_triton.server.triton_server import TritonServer
from tests.toy_models import write_ensemble, write_python_model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("models")
    write_python_model(repository, "identity")
    write_ensemble(repository, "sifigan")
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


def write_inputs(path: Path, name: str = "f0") -> Path:
    path.write_text(json.dumps({"data": [{name: [220.0] * 50}]}), encoding="utf-8")
    return path


@pytest.mark.server
@pytest.mark.parametrize(
    ("model", "entry", "message"),
    [
        pytest.param("nonesuch", "f0", "on nonesuch .*unknown model: 'nonesuch'", id="unknown-model"),
        pytest.param("sifigan", "f1", r"one\.json.* missing tensor f0", id="wrong-tensor"),
    ],
)
def test_failure_says_what_perf_analyzer_says(
    server: TritonServer, tmp_path: Path, model: str, entry: str, message: str
) -> None:
    path = write_inputs(tmp_path / "one.json", entry)
    with pytest.raises(PerfError, match=message):
        send(model, server.http_url, "http", path, 1, 5)


def test_no_server_is_told(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(PerfError, match=rf"at {url} \(http, one\.json\).*exit status 99.*Couldn't connect"):
            send("sifigan", url, "http", write_inputs(tmp_path / "one.json"), 1, 1)

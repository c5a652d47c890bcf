"""The server that the client's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sifigan_triton.server.triton_server import TritonServer
from tests.client.toy_ensemble import toy


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server with a model that has the ensemble's tensors."""
    repository = toy(tmp_path_factory.mktemp("models"))
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, client_shared_memory=True) as running:
        yield running

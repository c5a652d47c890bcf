"""An object store for the tests: moto's server, which speaks S3."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from sifigan_triton.store.address import Address

SECRET = "very-secret-text"


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def address(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Address:
    """A prefix of its own, with nothing in it."""
    for name, value in (("ENDPOINT_URL_S3", server), ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    boto3.client("s3", endpoint_url=server).create_bucket(Bucket="voices")
    return Address("voices", f"{abs(hash(request.node.name)):x}")

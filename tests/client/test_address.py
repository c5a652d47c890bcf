"""The server's address: how it is written, and what the client says when the port speaks the other protocol."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest

from sifigan_triton.client import ServerUnavailableError, SifiganClient
from sifigan_triton.client.address import Address
from sifigan_triton.server.triton_server import TritonServer
from tests.client.toy_ensemble import features

GOOD = {
    "localhost:8000": ("http", "localhost", 8000),
    "http://localhost:8000": ("http", "localhost", 8000),
    "http://localhost:8000/": ("http", "localhost", 8000),
    "grpc://10.0.0.1:8001": ("grpc", "10.0.0.1", 8001),
    "[::1]:8000": ("http", "::1", 8000),
}
BAD = {
    "https://localhost:8000": "https:// is not spoken here; TLS is for a proxy to add",
    "grpcs://localhost:8001": "grpcs:// is not spoken here; TLS",
    "ftp://localhost:8000": "ftp:// is not spoken here$",
    "http://localhost:8000/triton": "nothing may stand around these",
    "localhost:8000/v2?x=1": "nothing may stand around these",
    "http://me:secret@localhost:8000": "nothing may stand around these",
    "localhost": "the port is missing",
    ":8000": "the host is missing",
    "localhost:port": "could not be cast to integer|Port",
    "localhost:80000": "Port out of range",
    "localhost:80\r\n": "no blanks and no control characters",
    "local\thost:80": "no blanks and no control characters",
    " localhost:80": "no blanks and no control characters",
    "localhost:80\udc80": "no blanks and no control characters",
    "[::1:80": "Invalid IPv6 URL",
}


@pytest.mark.parametrize("url", GOOD)
def test_good_addresses(url: str) -> None:
    address = Address.parse(url)
    assert (address.protocol, address.host, address.port, address.url) == (*GOOD[url], url)
    assert Address.parse(address.host_port).host == address.host


@pytest.mark.parametrize("url", BAD)
def test_bad_addresses_say_what_is_expected(url: str) -> None:
    expected = f"expected host:port, http://host:port or grpc://host:port: .*({BAD[url]})"
    with pytest.raises(ValueError, match=f"^url is {re.escape(repr(url))}, {expected}"):
        SifiganClient(url)


@pytest.mark.server
@pytest.mark.parametrize("frames", [2, 20_000])  # a short request is answered, a long one is cut off while it is sent
def test_wrong_port_names_the_protocol_and_the_url(server: TritonServer, frames: int) -> None:
    cases = {
        server.grpc_url: rf"HTTP was expected there, but this port speaks gRPC: write 'grpc://{server.grpc_url}'",
        f"grpc://{server.http_url}": rf"gRPC was expected there, but this port speaks HTTP: write '{server.http_url}'",
        f"grpc://{server.metrics_url}": "this port speaks HTTP: .* the server's other port \\(by default 8001, gRPC\\)",
        server.metrics_url: "answers 'Method Not Allowed': expected Triton's HTTP port there",
    }
    for url, message in cases.items():
        for memory in (None, "system") if frames == 2 else (None,):
            with (
                SifiganClient(url, timeout_s=20.0, shared_memory=memory) as client,  # type: ignore[arg-type]
                pytest.raises(ServerUnavailableError, match=message),
            ):
                client.synthesize(*features(frames))


@pytest.mark.server
def test_name_with_several_addresses(server: TritonServer) -> None:
    port = server.http_url.rpartition(":")[2]
    started = time.monotonic()
    with SifiganClient(f"localhost:{port}") as client:
        assert np.all(client.synthesize(*features(2)) == 100.0)
    assert time.monotonic() - started < 10.0


def test_host_that_does_not_exist() -> None:
    url = "no-such-host.invalid:8000"
    with SifiganClient(url, retries=0) as client, pytest.raises(ServerUnavailableError, match=url):
        client.synthesize(*features(2))

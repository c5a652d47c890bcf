"""The client's HTTP, against servers that answer from a script."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from sifigan_triton.client import ServerUnavailableError, SifiganClient, SynthesisError
from tests.client.toy_ensemble import features

SAMPLES = np.arange(8, dtype=np.float32)
HEADER = json.dumps({"outputs": [{"name": "waveform", "shape": [8], "datatype": "FP32"}]}).encode()


def answer(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


GOOD = answer("200 OK", HEADER + SAMPLES.tobytes(), f"Inference-Header-Content-Length: {len(HEADER)}")


@contextmanager
def scripted(*connections: tuple[bytes, ...]) -> Iterator[str]:
    """Serve connections one after another: each gives its answers to as many requests, then it is closed."""

    def serve() -> None:
        for answers in connections:
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as received:
                for reply in answers:
                    lengths = [line for line in iter(received.readline, b"\r\n") if b"content-length" in line.lower()]
                    received.read(max(int(line.split(b":")[1]) for line in lengths if line.startswith(b"Content")))
                    peer.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10.0)
        assert not thread.is_alive()


def test_connection_is_used_again_and_opened_again_where_the_server_closed_it() -> None:
    with scripted((GOOD, GOOD), (GOOD,)) as url, SifiganClient(url, timeout_s=5.0) as client:
        for _ in range(3):
            waveform = client.synthesize(*features(2))
            assert np.array_equal(waveform, SAMPLES)
            assert waveform.flags.writeable


def test_connection_that_the_server_ends_is_not_used_again() -> None:
    last = GOOD.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    with scripted((last,), (GOOD,)) as url, SifiganClient(url, timeout_s=5.0) as client:
        for _ in range(2):
            assert np.array_equal(client.synthesize(*features(2)), SAMPLES)


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        (answer("200 OK", b"<html>"), ServerUnavailableError, "answers '<html>': expected Triton's HTTP port there"),
        (answer("404 Not Found", b"no"), ServerUnavailableError, "answers '404 no': expected Triton's HTTP port"),
        (answer("502 Bad Gateway", b""), ServerUnavailableError, "answers '502': expected Triton's HTTP port"),
        (answer("400 Bad", b'{"error": "f0 is odd"}'), SynthesisError, "^f0 is odd$"),
        (answer("503 No", b'{"error": "not ready"}'), ServerUnavailableError, "cannot serve sifigan: not ready"),
    ],
    ids=["a web page", "404", "a proxy", "refused", "not ready"],
)
def test_answers_that_are_none(reply: bytes, error: type[Exception], message: str) -> None:
    with scripted((reply,)) as url, SifiganClient(url, timeout_s=5.0) as client, pytest.raises(error, match=message):
        client.synthesize(*features(2))


def test_answer_that_breaks_off_is_told_with_the_reason() -> None:
    with (
        scripted((GOOD[:-4],), ()) as url,  # the second connection is the question which protocol is spoken
        SifiganClient(url, timeout_s=5.0) as client,
        pytest.raises(ServerUnavailableError, match=f"no Triton server answers at {url}: IncompleteRead"),
    ):
        client.synthesize(*features(2))

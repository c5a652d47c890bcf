"""The client's HTTP, against servers that answer from a script."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

from sifigan_triton.client import (
    ServerUnavailableError,
    SifiganClient,
    SynthesisError,
    SynthesisTimeoutError,
    http_messages,
)
from sifigan_triton.client.address import Address
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.http_transport import HttpTransport
from tests.client.stub_server import GOOD, SAMPLES, answer, read_request
from tests.client.toy_ensemble import PASSED, features
from tests.stopwatch import stopwatch


@contextmanager
def dripping(first: bytes, piece: bytes) -> Iterator[str]:
    """Serve one connection: send `first`, then `piece` again and again for 3 s."""

    def serve() -> None:
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as received, suppress(OSError):
            read_request(received)
            peer.sendall(first)
            give_up = time.monotonic() + 3.0
            while time.monotonic() < give_up:
                peer.sendall(piece)
                time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10.0)
        assert not thread.is_alive()


@contextmanager
def scripted(*connections: tuple[bytes, ...], seen: list[bytes] | None = None, delay_s: float = 0.0) -> Iterator[str]:
    """Serve connections one after another: each gives its answers to as many requests, then it is closed.

    The first line and the body of every request go to `seen`; `delay_s` later it is answered.
    """

    def serve() -> None:
        for answers in connections:
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as received:
                for reply in answers:
                    request = read_request(received)
                    if request and seen is not None:
                        seen.append(request)
                    if request:
                        time.sleep(delay_s)
                        peer.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10.0)
        assert not thread.is_alive()


def test_connection_is_used_again_and_opened_again_where_the_server_closed_it() -> None:
    with scripted((GOOD, GOOD), (GOOD,)) as url, SifiganClient(url, timeout_s=30.0) as client:
        for _ in range(3):
            waveform = client.synthesize(*features(2))
            assert np.array_equal(waveform, SAMPLES)
            assert waveform.flags.writeable


def test_connection_that_the_server_ends_is_not_used_again() -> None:
    last = GOOD.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    with scripted((last,), (GOOD,)) as url, SifiganClient(url, timeout_s=30.0) as client:
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
        (
            answer("400 Bad", b'{"error": null}'),
            SynthesisError,
            "^the server .* status 400 and gives no reason$",
        ),
        (
            answer("503 No", b'{"error": ""}'),
            ServerUnavailableError,
            "sifigan: .* status 503 and gives no reason$",
        ),
        (answer("400 Bad", json.dumps({"error": PASSED}).encode()), SynthesisTimeoutError, f"^{PASSED}$"),
        (answer("499 Cancelled", json.dumps({"error": PASSED}).encode()), SynthesisTimeoutError, f"^{PASSED}$"),
        (answer("499 Cancelled", b'{"error": "cancelled"}'), SynthesisError, "^cancelled$"),
        (answer("400 Bad", b"[" * 100_000), ServerUnavailableError, r"answers '400 \[.*: expected Triton's HTTP port"),
    ],
    ids=[
        "a web page",
        "404",
        "a proxy",
        "refused",
        "not ready",
        "null",
        "no words",
        "late",
        "late, by a status of its own",
        "cancelled",
        "deep",
    ],
)
def test_answers_that_are_none(reply: bytes, error: type[Exception], message: str) -> None:
    with (
        scripted((reply,)) as url,
        SifiganClient(url, timeout_s=30.0, retries=0) as client,
        pytest.raises(error, match=message),
    ):
        client.synthesize(*features(2))


def test_answer_that_breaks_off_is_told_with_the_reason() -> None:
    with (
        scripted((GOOD[:-4],), ()) as url,  # the second connection is the question which protocol is spoken
        SifiganClient(url, timeout_s=30.0, retries=0) as client,
        pytest.raises(ServerUnavailableError, match=f"no Triton server answers at {url}: IncompleteRead"),
    ):
        client.synthesize(*features(2))


def described(header: Any, data: bytes = SAMPLES.tobytes(), length: object = None) -> bytes:
    """Return an answer of status 200 that describes its bytes in any way."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    given = len(text) if length is None else length
    return answer("200 OK", text + data, f"Inference-Header-Content-Length: {given}")


def outputs(**changed: Any) -> dict[str, Any]:
    return {"outputs": [{"name": "waveform", "shape": [8], "datatype": "FP32"} | changed]}


MALFORMED = {
    "no output": described({"outputs": []}),
    "two outputs": described({"outputs": outputs()["outputs"] * 2}),
    "an empty output": described({"outputs": [{}]}),
    "no object": described({"outputs": [1]}),
    "outputs are no list": described({"outputs": 1}),
    "null": described(None),
    "a list": described([1]),
    "deep": described(b"[" * 100_000),
    "two axes": described(outputs(shape=[2, 4])),
    "no axis": described(outputs(shape=[])),
    "no shape": described(outputs(shape=None)),
    "a negative shape": described(outputs(shape=[-8])),
    "a shape of words": described(outputs(shape=["8"])),
    "odd bytes": described(outputs(), SAMPLES.tobytes()[:-1]),
    "too few bytes": described(outputs(shape=[9])),
    "too many bytes": described(outputs(shape=[7])),
    "another type": described(outputs(datatype="INT64"), bytes(64)),
    "a type of the same size": described(outputs(datatype="INT32")),
    "another output": described(outputs(name="pcm16", datatype="INT16"), bytes(16)),
    "a header of abc bytes": described(outputs(), length="abc"),
    "a header of -1 bytes": described(outputs(), length=-1),
    "a header longer than the answer": described(outputs(), length=10_000),
}


@pytest.mark.parametrize("reply", MALFORMED.values(), ids=MALFORMED)
def test_malformed_answer_is_that_of_a_stranger(reply: bytes) -> None:
    with (
        scripted((reply,)) as url,
        SifiganClient(url, timeout_s=30.0) as client,
        pytest.raises(ServerUnavailableError, match=f"^{url} answers .*: expected Triton's HTTP port there"),
    ):
        client.synthesize(*features(2))


@pytest.mark.parametrize(
    "found",
    [
        None,
        [1],
        {"model_stats": None},
        {"model_stats": 1},
        {"model_stats": [1]},
        {"model_stats": [{}]},
        {"model_stats": [{"name": ["a"]}]},
        {"model_stats": [{"name": "a", "inference_count": "many"}]},
        {"model_stats": [{"name": "a", "inference_count": float("inf")}]},
        {"model_stats": [{"name": "a", "inference_stats": [1]}]},
        {"model_stats": [{"name": "a", "inference_stats": {"queue": 1}}]},
    ],
)
def test_malformed_statistics_are_those_of_a_stranger(found: Any) -> None:
    with (
        scripted((answer("200 OK", json.dumps(found).encode()),)) as url,
        SifiganClient(url, timeout_s=30.0) as client,
        pytest.raises(ServerUnavailableError, match=f"^{url} answers .*: expected Triton's HTTP port there"),
    ):
        client.steps()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000000\r\n\r\n", "expected at most"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\nabc", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"7" * 15 + b"\r\nabc", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc", "IncompleteRead"),
    ],
    ids=["length", "chunk beyond an index", "chunk beyond memory", "negative chunk"],
)
def test_announced_sizes_are_not_believed(reply: bytes, message: str) -> None:
    with (
        scripted((reply,), ()) as url,  # the second connection is the question which protocol is spoken
        SifiganClient(url, timeout_s=30.0, retries=0) as client,
        pytest.raises(ServerUnavailableError, match=message),
    ):
        client.synthesize(*features(2))


def test_longest_answer_holds_for_every_way_of_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_messages, "LONGEST_ANSWER", 40)
    head, chunk = b"HTTP/1.1 200 OK\r\n", b"14\r\n" + b"x" * 20 + b"\r\n"
    for reply in (GOOD, head + b"\r\n" + b"x" * 60, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3):
        with (
            scripted((reply,), ()) as url,
            SifiganClient(url, timeout_s=30.0) as client,
            pytest.raises(ServerUnavailableError, match="expected at most 40"),
        ):
            client.synthesize(*features(2))


def test_chunked_answer_is_read_and_its_connection_used_again() -> None:
    head, body = GOOD.split(b"\r\n\r\n", 1)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:50], body[50:]))
    chunked = b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length"))
    reply = chunked + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    with scripted((reply, reply)) as url, SifiganClient(url, timeout_s=30.0) as client:
        for _ in range(2):
            assert np.array_equal(client.synthesize(*features(2)), SAMPLES)


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"", b"H"),
        (HEAD, b"x"),
        (HEAD + b"Content-Length: 1000\r\n\r\n", b"x"),
        (HEAD + b"\r\n", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["status line", "headers", "body", "body without end", "chunks", "100 Continue"],
)
def test_timeout_is_one_of_the_whole_answer(first: bytes, piece: bytes) -> None:
    with dripping(first, piece) as url, SifiganClient(url, timeout_s=0.4) as client:
        started = time.monotonic()
        with stopwatch() as watch, pytest.raises(SynthesisTimeoutError, match=r"within 0\.4 s"):
            client.synthesize(*features(2))
        assert time.monotonic() - started > 0.3
        assert watch.seconds < 2.0


def test_every_request_of_a_connection_has_its_own_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    real, passed_s = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: real() + passed_s)
    with scripted((GOOD, GOOD)) as url, SifiganClient(url, timeout_s=50.0) as client:
        for _ in range(2):
            assert np.array_equal(client.synthesize(*features(2)), SAMPLES)
            passed_s += 60.0


def test_connection_of_a_request_that_outlives_close_is_closed() -> None:
    asked, closed, left_open = threading.Event(), threading.Event(), []

    def serve() -> None:
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as received:
            read_request(received)
            asked.set()
            closed.wait(5.0)
            peer.sendall(GOOD)
            peer.settimeout(2.0)
            try:
                left_open.append(bool(peer.recv(1)))
            except TimeoutError:
                left_open.append(True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, daemon=True)
        transport = HttpTransport(Address.parse(f"127.0.0.1:{listener.getsockname()[1]}"))
        f0 = {"f0": np.zeros(2, np.float32)}
        request = threading.Thread(
            target=lambda: transport.infer("sifigan", f0, "waveform", {}, Deadline(5.0)), daemon=True
        )
        server.start()
        request.start()
        assert asked.wait(5.0)
        transport.close()
        closed.set()
        server.join(10.0)
        request.join(10.0)
    assert left_open == [False]


def test_registration_is_never_sent_twice() -> None:
    seen: list[bytes] = []
    with scripted((GOOD, b""), (answer("200 OK", b""),), seen=seen) as url:  # b"": taken, and the connection breaks
        transport = HttpTransport(Address.parse(url))
        deadline = Deadline(5.0)
        transport.infer("sifigan", {"f0": np.zeros(2, np.float32)}, "waveform", {}, deadline)
        transport.register_system_shared_memory("region", "/key", 64, deadline)
        transport.close()
    assert [line.split(b" ")[1] for line in seen[1:]] == [b"/v2/systemsharedmemory/region/region/register"]


def told_s(request: bytes) -> float:
    """Return the time-out in seconds that a request tells the server."""
    head, _ = json.JSONDecoder().raw_decode(request[request.index(b"{") :].decode(errors="replace"))
    return int(head["parameters"]["timeout"]) / 1e6


def test_server_is_told_what_is_left_of_the_timeout_when_the_request_is_sent() -> None:
    seen: list[bytes] = []
    connections = ((GOOD, b""), (), (GOOD,))  # the second one is the question which protocol is spoken
    with scripted(*connections, seen=seen, delay_s=0.3) as url, SifiganClient(url, timeout_s=60.0) as client:
        client.synthesize(*features(2))
        started = time.monotonic()
        client.synthesize(*features(2), timeout_s=50.0)  # sent again, 0.3 s later: the connection has broken
        elapsed = time.monotonic() - started
    first, second, again = map(told_s, seen)
    assert 59.0 < first < 60.0
    assert 49.0 < second < 50.0
    assert second - elapsed < again < second - 0.29


def test_registering_of_memory_takes_from_the_time_of_the_request() -> None:
    seen: list[bytes] = []
    registered = answer("200 OK", b"").replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    with (
        scripted((registered,), (GOOD,), (registered,), seen=seen, delay_s=0.3) as url,
        SifiganClient(url, timeout_s=50.0, shared_memory="system") as client,
    ):
        started = time.monotonic()
        client.synthesize(*features(2))
        elapsed = time.monotonic() - started
    assert 50.0 - elapsed < told_s(seen[1]) < 49.71

"""Requests that are wrong as HTTP."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import replace
from functools import cache

from benchmarks.fuzz.call import HEADER_LENGTH, as_json, binary_post, head, json_post, post
from benchmarks.fuzz.case import Case, Expected, Kinds, Random, World, pick
from benchmarks.fuzz.wire import HttpBytes

MB = 2**20
ZEROS = bytes(MB)
SOON_S = 0.3
"""When a client whose request may have no end gives up."""
INFER = "/v2/models/sifigan/infer"
PATHS = (
    "/", "/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/models/sifigan", "/v2/models/sifigan/ready",
    "/v2/models/sifigan/config", "/v2/models/sifigan/stats", "/v2/models/stats", "/v2/models/sifigan/versions/1",
    "/v2/models/sifigan/versions/99999999999999999999/ready", "/v2/models/sifigan/versions/-1/ready",
    "/v2/models/sifigan/generate", "/v2/models/sifigan/generate_stream", "/v2/models/sifigan/infer",
    "/v2/../../../../etc/passwd", "/v2/models/../../etc/passwd/config", "/v2/models/%2e%2e%2f%2e%2e/config",
    "/v2/models/sifigan%00/ready", "/v2/models/%00/infer", "/%00", "//v2//models//sifigan//infer", "/v2/models//infer",
    "/v2/models/" + "a" * 7000 + "/infer", "/" + "b" * 100000, "/v2/models/sifigan/infer?x=" + "c" * 5000, "*",
    "/v2/models/sifigan/infer#x", "http://localhost/v2", "/v2/repository/index", "/v2/repository/models/sifigan/load",
    "/v2/repository/models/sifigan/unload", "/v2/systemsharedmemory/status", "/v2/systemsharedmemory/region/a/register",
    "/v2/cudasharedmemory/status", "/v2/trace/setting", "/v2/models/sifigan/trace/setting", "/v2/logging", "/metrics",
    "/v2/models/%73ifigan/infer", "/V2/MODELS/sifigan/INFER", "/v2/models/sifigan;x/infer", "/v2/models/ü/ready",
    "/v2/repository%2findex", "/v2/./repository/index", "/v2/x/../repository/index", "/%76%32/repository/index",
    "/v2/models/sifigan/versions/", "/v2/models/sifigan/versions//infer", "/v2/models/sifigan/versions/1/infer/infer",
)  # fmt: skip
METHODS = (
    "GET",
    "POST",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PATCH",
    "PRI",
    "get",
    "X" * 100,
    "G ET",
)


def _paths(random: Random, world: World) -> Case:
    """Any method on any path."""
    method, path = pick(random, METHODS), pick(random, PATHS)
    bodies = (b"", b"{}", b"{" * 100, json.dumps(as_json(world.call(random))).encode())
    body = pick(random, bodies)
    wire = HttpBytes((head(method, path, ("Content-Length", str(len(body)))), body), method=method)
    return Case(wire, Expected.ANSWERED, broken=True, note=f"{method[:9]} {path[:60]}")


def _length(random: Random, world: World) -> Case:
    """A `Content-Length` that lies; the connection ends behind what was sent."""
    call = world.call(random)
    body = json.dumps(as_json(call)).encode()
    lies: tuple[object, ...] = (
        0, 1, len(body) - 1, len(body) + 1, 2 * len(body), 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -1, "x", "", "1e3",
        "0x10", f"{len(body)}, {len(body)}", f"{len(body)}\r\nContent-Length: 3", "+5",
    )  # fmt: skip
    lie = pick(random, lies)
    wire = HttpBytes((head("POST", INFER, ("Content-Length", str(lie))), body), ends_after_s=SOON_S)
    return Case(wire, Expected.EITHER, call.frames, broken=True, note=f"{lie!r} of {len(body)}")


def _cut(random: Random, world: World) -> Case:
    """A connection that ends within the request."""
    wire = pick(random, (binary_post, json_post))(world.call(random))
    whole = b"".join(wire.parts)
    within = len(wire.parts[0]) if random.random() < 0.3 else len(whole)
    kept = whole[: int(random.integers(within))]
    return Case(HttpBytes((kept,), ends_after_s=0.0), Expected.REFUSED, broken=True, note=f"{len(kept)} bytes")


def _chunks(random: Random, world: World) -> Case:
    """Chunked bodies, right and wrong."""
    call = world.call(random)
    body = json.dumps(as_json(call)).encode()
    size = pick(random, (1000, 10000, len(body)))
    pieces = [b"%x\r\n%b\r\n" % (len(body[at : at + size]), body[at : at + size]) for at in range(0, len(body), size)]
    end = b"0\r\n\r\n"
    wrong = (
        b"", b"-1\r\n", b"ffffffffffffffff\r\n", b"7fffffffffffffff\r\n", b"10000000000000000\r\n", b"x\r\n",
        b"5\r\nabc", b"1;" + b"e" * 100000 + b"\r\na\r\n" + end, b"0\r\n" + b"T: x\r\n" * 1000 + b"\r\n",
    )  # fmt: skip
    bad = random.random() < 0.6
    spoilt = int(random.integers(len(pieces) + 1)) if bad else len(pieces)
    parts = (
        head("POST", INFER, ("Transfer-Encoding", "chunked")),
        *pieces[:spoilt],
        pick(random, wrong) if bad else end,
    )
    return Case(HttpBytes(parts, ends_after_s=SOON_S if bad else None), Expected.EITHER, call.frames, broken=bad)


def _large(random: Random, world: World) -> Case:
    """Up to 100 MB of zeros, as JSON, as a tensor, or in chunks."""
    megabytes = pick(random, (5, 20, 100))
    frames = megabytes * MB // 4
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "f0",
                    "datatype": "FP32",
                    "shape": [frames],
                    "parameters": {"binary_data_size": megabytes * MB},
                }
            ]
        }
    ).encode()
    what = int(random.integers(3))
    if what == 0:
        length = ("Content-Length", str(megabytes * MB))
        parts = (head("POST", INFER, length), *(ZEROS,) * megabytes)
    elif what == 1:
        length = ("Content-Length", str(len(header) + megabytes * MB))
        parts = (head("POST", INFER, length, (HEADER_LENGTH, str(len(header)))), header, *(ZEROS,) * megabytes)
    else:
        chunk = b"%x\r\n%b\r\n" % (MB, ZEROS)
        parts = (head("POST", INFER, ("Transfer-Encoding", "chunked")), *(chunk,) * megabytes, b"0\r\n\r\n")
    return Case(HttpBytes(parts), Expected.REFUSED, broken=True, note=f"{megabytes} MB, form {what}")


@cache
def _bomb(megabytes: int, encoding: str, binary: bool) -> bytes:
    """Return zeros, compressed to a thousandth."""
    make = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    start = b"" if binary else b'{"inputs":[{"name":"f0","datatype":"FP32","shape":[1],"data":['
    pieces = [make.compress(start)]
    block = ZEROS if binary else b"0," * (MB // 2)
    pieces += [make.compress(block) for _ in range(megabytes)]
    return b"".join([*pieces, make.flush()])


def _bombs(random: Random, world: World) -> Case:
    """Little that unpacks to much."""
    encoding, megabytes, binary = pick(random, ("gzip", "deflate")), pick(random, (10, 100)), random.random() < 0.5
    headers = [("Content-Encoding", encoding)]
    if binary and random.random() < 0.5:
        headers.append((HEADER_LENGTH, "200"))
    wire = post(INFER, _bomb(megabytes, encoding, binary), *headers)
    return Case(wire, Expected.REFUSED, broken=True, note=f"{encoding} of {megabytes} MB")


def _encoded(random: Random, world: World) -> Case:
    """Compressed bodies: right, cut, or of another kind than they say."""
    call = world.call(random)
    body = json.dumps(as_json(call)).encode()
    packed = {"gzip": gzip.compress(body, mtime=0), "deflate": zlib.compress(body), "br": body, "identity": body}
    encoding, said = (
        pick(random, list(packed)),
        pick(random, ("gzip", "deflate", "br", "identity", "gzip, gzip", "x", "")),
    )
    sent = packed[encoding]
    if random.random() < 0.4:
        sent = sent[: int(random.integers(len(sent)))]
    headers = [("Content-Encoding", said)]
    if random.random() < 0.3:
        headers.append(("Accept-Encoding", pick(random, ("gzip", "deflate", "br", "gzip;q=0", "x", "*"))))
    return Case(post(INFER, sent, *headers), Expected.EITHER, call.frames, note=f"{encoding} as {said}")


def _headers(random: Random, world: World) -> Case:
    """Many, long, repeated and strange headers around a good request."""
    call = world.call(random)
    body = json.dumps(as_json(call)).encode()
    strange = (
        [("X", "y" * 100_000)], [(f"X-{n}", "y") for n in range(5000)], [("Content-Length", str(len(body)))],
        [("Content-Length", "1")], [("Transfer-Encoding", "chunked")], [("Transfer-Encoding", "gzip, chunked")],
        [("Expect", "100-continue")], [("Expect", "x")], [("Connection", "close")],
        [("Connection", "upgrade"), ("Upgrade", "h2c")], [("Host", "other"), ("Host", "third")],
        [("Content-Type", "application/x-protobuf")], [("", "x")], [("X\0", "y")],
        [("X", "a\0b")], [("X", "a\nb")], [("X", "a\rb")], [(" X", "y")], [("X ", "y")], [(HEADER_LENGTH, "0")] * 2,
        [("closed", "x")], [("triton-grpc-error", "true")], [("Accept-Encoding", "gzip")], [("traceparent", "00-x")],
        [("X-Forwarded-For", "127.0.0.1")], [("Range", "bytes=0-1")], [("Cookie", "a=b;" * 5000)], [("X" * 50000, "y")],
    )  # fmt: skip
    headers = pick(random, strange)
    parts = (head("POST", INFER, ("Content-Length", str(len(body))), *headers), body)
    note = f"{headers[0][0][:20]!r}: {headers[0][1][:20]!r} x {len(headers)}"
    return Case(HttpBytes(parts, ends_after_s=SOON_S), Expected.EITHER, call.frames, broken=True, note=note)


def _protocol(random: Random, world: World) -> Case:
    """Old and wrong protocols, several requests at once, garbage."""
    call = world.call(random)
    first = b"".join(binary_post(replace(call, outputs=(("waveform", {}),))).parts)
    what = int(random.integers(5))
    if what == 0:
        times = pick(random, (2, 5, 20))
        return Case(HttpBytes((first * times,), answers=times), Expected.EITHER, call.frames, note=f"{times} at once")
    if what == 1:
        version = pick(random, (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9", b"HTTP/1.1x", b"XTTP/1.1", b""))
        sent = first.replace(b"HTTP/1.1", version, 1)
        wire = HttpBytes((sent,), ends_after_s=SOON_S)
        return Case(wire, Expected.EITHER, call.frames, broken=True, note=version.decode())
    if what == 2:
        sent = pick(
            random, (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\r\n" * 1000, b"GET /v2\r\n\r\n")
        )
    elif what == 3:
        sent = random.bytes(int(random.integers(1, 3000)))
    else:
        sent = first.replace(b"\r\n", pick(random, (b"\n", b"\r", b"\r\r\n", b"\0")), int(random.integers(1, 5)))
    wire = HttpBytes((sent,), ends_after_s=SOON_S)
    return Case(wire, Expected.EITHER, call.frames, broken=True, note=repr(sent[:30]))


KINDS: Kinds = {
    "HTTP: methods and paths": (8, _paths),
    "HTTP: Content-Length": (3, _length),
    "HTTP: cut": (3, _cut),
    "HTTP: chunked": (2, _chunks),
    "HTTP: up to 100 MB": (0.06, _large),
    "HTTP: decompression bomb": (0.15, _bombs),
    "HTTP: compressed": (3, _encoded),
    "HTTP: headers": (4, _headers),
    "HTTP: protocol": (3, _protocol),
}

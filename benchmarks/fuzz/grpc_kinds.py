"""Requests that are wrong as protobuf, gRPC or HTTP/2."""

from __future__ import annotations

import struct
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from benchmarks.fuzz.call import CODES, Call, Outputs, Tensor, as_message
from benchmarks.fuzz.case import Case, Expected, Kinds, Random, World, pick
from benchmarks.fuzz.wire import SERVICE, GrpcMessages, RawBytes

METHODS = tuple(method.name for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _varint(value: int) -> bytes:
    """Write a number as protobuf does, also one that is too long."""
    out = bytearray()
    while True:
        low, value = value & 0x7F, value >> 7
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def _malformed(random: Random, world: World) -> Case:
    """Cut, changed, or fields of a wrong kind."""
    message = bytearray(as_message(world.call(random), typed=random.random() < 0.3).SerializeToString())
    what = int(random.integers(5))
    if what == 0:
        message = message[: int(random.integers(len(message)))]
    elif what == 1:
        for _ in range(int(random.integers(1, 20))):
            message[int(random.integers(min(len(message), 300)))] = int(random.integers(256))
    elif what == 2:
        message = bytearray(random.bytes(int(random.integers(0, 3000))))
    elif what == 3:  # a field that claims to be longer than all
        claim = pick(random, (2**31 - 1, 2**32, 2**63, 2**64 - 1, 2**70, len(message) + 1))
        message = bytearray(_varint(5 << 3 | 2) + _varint(claim) + bytes(message))
    else:  # groups, nested without end, and unknown wire types
        message = bytearray(
            pick(
                random,
                (b"\x0b" * 100000, b"\x0b\x0c" * 1000, b"\x0f", b"\x0e" * 10, b"\x80" * 100, b"\x2a\x00" * 10000),
            )
        )
    return Case(GrpcMessages("ModelInfer", (bytes(message),)), Expected.EITHER, _frames(bytes(message)))


def _frames(message: bytes) -> int:
    """Return the length that a message tells, should it be one."""
    try:
        request = service_pb2.ModelInferRequest.FromString(message)
    except Exception:  # noqa: BLE001 - the library's own error differs between its implementations
        return 0
    return next((int(t.shape[0]) for t in request.inputs if t.name == "f0" and t.shape), 0)


def _contents(random: Random, world: World) -> Case:
    """Values in both forms, in the wrong form, too many and too few of them."""
    call = world.call(random)
    message = as_message(call, typed=random.random() < 0.5)
    what = int(random.integers(6))
    tensor = pick(random, list(message.inputs))
    if what == 0:
        tensor.contents.fp32_contents.append(1.0)
    elif what == 1:
        message.raw_input_contents.append(b"1234")
    elif what == 2:
        tensor.contents.bytes_contents.append(b"x" * 1000)
    elif what == 3 and message.raw_input_contents:
        del message.raw_input_contents[0]
    elif what == 4:
        tensor.ClearField("contents")
        tensor.contents.int64_contents.extend([2**63 - 1] * 10)
    else:
        tensor.shape.extend([1] * 10000)
    return Case(
        GrpcMessages("ModelInfer", (message.SerializeToString(),)), Expected.EITHER, call.frames, note=f"{what}"
    )


def _bytes_shapes(random: Random, world: World) -> Case:
    """Tensors of text, whose elements Triton counts itself, under sizes that overflow."""
    call = world.call(random)
    shape = tuple(pick(random, (-1, 0, 1, 2**31, 2**32, 2**62, 2**63 - 1)) for _ in range(int(random.integers(1, 4))))
    call = call.with_tensor("f0", datatype="BYTES", shape=shape, data=struct.pack("<I", 2**32 - 1) + b"x")
    message = as_message(call, typed=random.random() < 0.5)
    return Case(GrpcMessages("ModelInfer", (message.SerializeToString(),)), Expected.REFUSED, note=str(shape))


def _methods(random: Random, world: World) -> Case:
    """All calls of the service and others, with requests of a good form or of none."""
    method = pick(random, (*METHODS, "Nothing", "../ModelInfer", "ModelInfer/x", "modelinfer", "m" * 5000))
    names = ("sifigan", "", "nothing", "../x", "\x00", "n" * 10000)
    request = service_pb2.ModelConfigRequest(
        name=pick(random, names), version=pick(random, ("", "1", "-1", "x", "9" * 30))
    )
    messages = (b"", request.SerializeToString(), random.bytes(20), as_message(world.call(random)).SerializeToString())
    wire = GrpcMessages(method, (pick(random, messages),), streams=method == "ModelStreamInfer")
    return Case(wire, Expected.ANSWERED, note=method[:30])


def _stream(random: Random, world: World) -> Case:
    """Streams of none, one or several requests, not all of them good."""
    good = as_message(world.call(random)).SerializeToString()
    messages = pick(
        random, ((), (good,), (good,) * 5, (b"",), (b"\xff" * 10,), (good, b"\xff" * 10, good), (b"",) * 50)
    )
    return Case(GrpcMessages("ModelStreamInfer", messages, streams=True), Expected.ANSWERED, note=f"{len(messages)}")


def _metadata(random: Random, world: World) -> Case:
    """Metadata of all sorts around a good request."""
    call = world.call(random)
    several = (
        (("x", "y" * 7000),), tuple((f"x-{n}", "y") for n in range(100)), (("closed", "x"),),
        (("triton-grpc-error", "x"),), (("authorization", "Bearer x"),), (("grpc-accept-encoding", "x"),),
        (("x-bin", b"\0\xff"),), (("x", "y" * 100_000),), (("host", "other"),),
        (("content-encoding", "gzip"),), (("triton_grpc_error", "true"),),
    )  # fmt: skip
    metadata: Any = pick(random, several)
    wire = GrpcMessages("ModelInfer", (as_message(call).SerializeToString(),), metadata=metadata)
    return Case(wire, Expected.EITHER, call.frames, broken=True, note=f"{metadata[0][0]} x {len(metadata)}")


def _large(random: Random, world: World) -> Case:
    """Up to 100 MB, as such or compressed to a thousandth."""
    megabytes = pick(random, (5, 20, 100))
    frames = megabytes * 2**18
    tensor = Tensor("f0", "FP32", (frames,), bytes(megabytes * 2**20))
    message = as_message(Call((tensor,), frames)).SerializeToString()
    packing = pick(random, (None, grpc.Compression.Gzip, grpc.Compression.Deflate))
    wire = GrpcMessages("ModelInfer", (message,), compression=packing)
    return Case(wire, Expected.REFUSED, broken=True, note=f"{megabytes} MB, {packing}")


def _compressed(random: Random, world: World) -> Case:
    call = world.call(random)
    packing = pick(random, (grpc.Compression.Gzip, grpc.Compression.Deflate))
    wire = GrpcMessages("ModelInfer", (as_message(call).SerializeToString(),), compression=packing)
    return Case(wire, Expected.EITHER, call.frames)


def _frame(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    """Return a frame of HTTP/2 (RFC 9113, 4.1)."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literals(*headers: tuple[str, str]) -> bytes:
    """Return headers as HPACK writes them without any compression (RFC 7541, 6.2.2)."""
    out = b""
    for name, value in headers:
        out += b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
    return out


def _http2(random: Random, world: World) -> Case:
    """Frames of HTTP/2 that a client library would not send."""
    ask = _literals(
        (":method", "POST"), (":scheme", "http"), (":path", f"{SERVICE}ModelInfer"), (":authority", "localhost"),
        ("content-type", "application/grpc"), ("te", "trailers"),
        ("grpc-encoding", pick(random, ("identity", "gzip", "x"))),
    )  # fmt: skip
    start = PREFACE + _frame(4, 0, 0, b"")
    flag, claim = pick(random, (0, 1, 1, 255)), pick(random, (0, 3, 10, 2**31 - 1, 2**32 - 1))
    message = bytes((flag,)) + struct.pack(">I", claim) + b"\x1f\x8b\x08" + random.bytes(7)
    several = (
        start + _frame(1, 4, 1, ask) + _frame(0, 1, 1, message),  # a message whose length or packing lies
        start + _frame(1, 5, 1, ask),  # no message
        start + _frame(1, 4, 1, random.bytes(50)),  # no headers
        start + _frame(1, 4, 2, ask) + _frame(0, 1, 2, message),  # a stream of the server's
        start + _frame(0, 0, 1, b"x"),  # data of a stream that is not open
        start + _frame(0, 0, 1, b"", length=2**24 - 1),
        start + b"".join(_frame(1, 4, 2 * n + 1, ask) + _frame(3, 0, 2 * n + 1, bytes(4)) for n in range(300)),
        start + _frame(4, 0, 0, struct.pack(">HI", 4, 2**32 - 1)),
        start + _frame(8, 0, 0, struct.pack(">I", 0)),
        start + _frame(6, 0, 0, bytes(8)) * 1000,
        start + _frame(1, 0, 1, ask[:10]) + _frame(9, 0, 1, b"") * 1000,
        PREFACE + random.bytes(200),
        PREFACE[:10],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        random.bytes(int(random.integers(1, 500))),
    )
    which = int(random.integers(len(several)))
    return Case(RawBytes((several[which],)), Expected.ANSWERED, broken=True, note=f"form {which}")


def _inner(random: Random, world: World) -> Case:
    """Models that stand behind the ensemble, with tensors of their types and of any values and shapes."""
    if not world.inner:
        return _methods(random, world)
    config = pick(random, world.inner)
    batched = int(config.get("max_batch_size", 0)) > 0
    batch, frames = int(random.integers(1, 4)), int(random.integers(1, 70))
    tensors = []
    for spec in config["input"]:
        if spec.get("optional") and random.random() < 0.5:
            continue
        shape = [int(size) for size in spec["dims"]]
        shape = [pick(random, (frames, frames, frames * 120, 1, 43)) if size < 0 else size for size in shape]
        shape = [batch, *shape] if batched else shape
        datatype = spec["data_type"].removeprefix("TYPE_")
        size, code = int(np.prod(shape)), CODES[datatype]
        if np.dtype(code).kind == "f":
            values = random.normal(size=size) * pick(random, (0.0, 1.0, 1.0, 1e4, 1e30))
        else:
            low, high = pick(random, ((0, 2), (0, 70), (-70, 70), (-(2**31), 2**31)))
            values = random.integers(low, high, size)
        with np.errstate(over="ignore"):
            tensors.append(Tensor(spec["name"], datatype, tuple(shape), values.astype(code).tobytes()))
    outputs: Outputs = tuple((spec["name"], {}) for spec in config["output"])
    call = Call(tuple(tensors), frames, model=config["name"], outputs=outputs)
    wire = GrpcMessages("ModelInfer", (as_message(call).SerializeToString(),))
    return Case(wire, Expected.ANSWERED, note=config["name"])


KINDS: Kinds = {
    "protobuf: malformed": (6, _malformed),
    "protobuf: contents": (3, _contents),
    "protobuf: text under sizes": (2, _bytes_shapes),
    "gRPC: calls": (6, _methods),
    "gRPC: streams": (2, _stream),
    "gRPC: metadata": (2, _metadata),
    "gRPC: up to 100 MB": (0.06, _large),
    "gRPC: compressed": (1, _compressed),
    "gRPC: HTTP/2 frames": (1, _http2),
    "inner models": (5, _inner),
}

"""Requests whose tensors are wrong, however they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.fuzz.call import CODES, Call, Tensor, bytes_tensor
from benchmarks.fuzz.case import Case, Expected, Kinds, Maker, Random, World, pick
from benchmarks.fuzz.good import WRITERS

REQUIRED = ("f0", "mcep", "bap")
OPTIONS = ("f0_factor", "seed")
SIZES = (0, -1, -2, 1, 2**31 - 1, 2**31, 2**32, 2**33, 2**61, 2**62, 2**63 - 1, -(2**63), 10**6, 10**9)
"""Sizes of a dimension that no request has, or that overflow when they are multiplied."""
REFUSED, EITHER = Expected.REFUSED, Expected.EITHER
Spoil = Callable[[Random, Call], tuple[Call, Expected]]


def _off_by_one(random: Random, call: Call) -> tuple[Call, Expected]:
    name = pick(random, REQUIRED)
    width = 4 * {"f0": 1, "mcep": 40, "bap": 3}[name]
    tensor = call.tensor(name)
    more = random.random() < 0.5 or call.frames == 1
    shape = (call.frames + (1 if more else -1), *tensor.shape[1:])
    data = tensor.data + tensor.data[:width] if more else tensor.data[:-width]
    return call.with_tensor(name, shape=shape, data=data), REFUSED


def _datatype(random: Random, call: Call) -> tuple[Call, Expected]:
    tensor = pick(random, call.tensors)
    wrong = pick(random, [*CODES, "BYTES", "BF16", "TYPE_FP32", "fp32", "", "FP32 ", "INVALID", "\x00"])
    if wrong == tensor.datatype:
        return call.with_tensor(tensor.name, datatype="FP64"), REFUSED
    data = tensor.data
    if wrong in CODES and random.random() < 0.5:  # of the right size for its type
        data = np.zeros(int(np.prod(tensor.shape)), CODES[wrong]).tobytes()
    return call.with_tensor(tensor.name, datatype=wrong, data=data), REFUSED


def _shape(random: Random, call: Call) -> tuple[Call, Expected]:
    tensor = pick(random, call.tensors)
    size = int(np.prod(tensor.shape))
    shapes = (
        (),
        (size, 1),
        (1, size),
        (1, *tensor.shape),
        tensor.shape[::-1],
        (*tensor.shape, 1),
        (size,),
        (1,) * 1000,
    )
    shape = pick(random, [shape for shape in shapes if shape != tensor.shape])
    return call.with_tensor(tensor.name, shape=shape), REFUSED


def _width(random: Random, call: Call) -> tuple[Call, Expected]:
    name, width = pick(random, (("mcep", 39), ("mcep", 41), ("bap", 2), ("bap", 4), ("mcep", 0), ("bap", 0)))
    values = np.zeros((call.frames, width), np.float32)
    return call.with_tensor(name, shape=values.shape, data=values.tobytes()), REFUSED


def _dimensions(random: Random, call: Call) -> tuple[Call, Expected]:
    """Negative, zero and overflowing sizes."""
    tensor = pick(random, call.tensors)
    shape = tuple(pick(random, SIZES) for _ in range(int(random.integers(1, 4))))
    if random.random() < 0.5:  # of the right rank
        shape = (pick(random, [size for size in SIZES if size != tensor.shape[0]]), *tensor.shape[1:])
    data = pick(random, (b"", tensor.data, tensor.data[:4]))
    if shape == tensor.shape:
        shape = (*shape, 0)
    return call.with_tensor(tensor.name, shape=shape, data=data), REFUSED


def _size(random: Random, call: Call) -> tuple[Call, Expected]:
    """Fewer or more bytes than the shape says."""
    tensor = pick(random, call.tensors)
    cut = int(random.integers(1, len(tensor.data) + 1))
    data = pick(random, (tensor.data[:-1], tensor.data[:-4], tensor.data[cut:], tensor.data + b"\0", tensor.data * 2))
    # Written as numbers, a part of a number is lost, and what is left may be right.
    whole = len(data) // np.dtype(CODES[tensor.datatype]).itemsize == np.prod(tensor.shape)
    return call.with_tensor(tensor.name, data=data), EITHER if whole else REFUSED


def _empty(random: Random, call: Call) -> tuple[Call, Expected]:
    names = pick(random, (REQUIRED, ("f0",), ("mcep",), ("bap",), ("f0_factor",), ("seed",), (*REQUIRED, *OPTIONS)))
    for name in names:
        call = call.with_tensor(name, shape=(0, *call.tensor(name).shape[1:]), data=b"")
    return call, REFUSED


def _not_finite(random: Random, call: Call) -> tuple[Call, Expected]:
    name = pick(random, (*REQUIRED, "f0_factor"))
    values = np.frombuffer(call.tensor(name).data, np.float32).copy()
    count = int(random.integers(1, values.size + 1)) if random.random() < 0.3 else 1
    values[random.integers(0, values.size, count)] = pick(random, (np.nan, np.inf, -np.inf))
    return call.with_tensor(name, data=values.tobytes()), REFUSED


def _repaired(random: Random, call: Call) -> tuple[Call, Expected]:
    call, _ = _not_finite(random, call)
    return replace(call, tensors=(*call.tensors, Tensor.of("repair", np.ones(1, np.bool_)))), EITHER


def _huge(random: Random, call: Call) -> tuple[Call, Expected]:
    name = pick(random, (*REQUIRED, "f0_factor"))
    values = np.frombuffer(call.tensor(name).data, np.float32).copy()
    values[random.integers(values.size)] = pick(random, (1e5, 1e30, 3.4e38, -3.4e38, -1e6, 1e20))
    return call.with_tensor(name, data=values.tobytes()), REFUSED


def _bad_f0(random: Random, call: Call) -> tuple[Call, Expected]:
    values = np.frombuffer(call.tensor("f0").data, np.float32).copy()
    values[random.integers(values.size)] = pick(random, (1e-45, 1e-38, 0.5, -1e-45, -300.0, 12000.0, 24000.0, 20.0))
    return call.with_tensor("f0", data=values.tobytes()), REFUSED


def _bits(random: Random, call: Call) -> tuple[Call, Expected]:
    """Random bits where numbers belong."""
    tensor = pick(random, call.tensors)
    return call.with_tensor(tensor.name, data=random.bytes(len(tensor.data))), EITHER


def _option(random: Random, call: Call) -> tuple[Call, Expected]:
    values = pick(
        random,
        (
            np.array([-1]), np.array([-(2**63)]), np.array([1, 2]), np.array([[1]]), np.array(1), np.array([2.5]),
            np.array([0.0], np.float32), np.array([-1.0], np.float32), np.array([1e-45], np.float32),
        ),
    )  # fmt: skip
    changed = Tensor.of(pick(random, (*OPTIONS, "repair")), values)
    others = tuple(tensor for tensor in call.tensors if tensor.name != changed.name)
    # 1 and 1.0 in JSON are both: an element of a wrong type may be the right number there.
    return replace(call, tensors=(*others, changed)), EITHER if values.size == 1 else REFUSED


def _missing(random: Random, call: Call) -> tuple[Call, Expected]:
    names = pick(random, (("f0",), ("mcep",), ("bap",), ("f0", "bap"), REQUIRED, (*REQUIRED, *OPTIONS)))
    return replace(call, tensors=tuple(tensor for tensor in call.tensors if tensor.name not in names)), REFUSED


def _repeated(random: Random, call: Call) -> tuple[Call, Expected]:
    tensor = pick(random, call.tensors)
    times = pick(random, (1, 1, 1, 100))
    return replace(call, tensors=(*call.tensors, *(tensor,) * times)), EITHER


def _unknown(random: Random, call: Call) -> tuple[Call, Expected]:
    odd = pick(random, ("nothing", "F0", "f0 ", "", "x" * 10000, "../f0", "windows", "f\x000", "ü"))
    what = int(random.integers(3))
    if what == 0:
        return replace(call, tensors=(*call.tensors, replace(call.tensors[0], name=odd))), REFUSED
    if what == 1:
        spoilt = pick(random, call.tensors)
        return replace(call, tensors=tuple(replace(t, name=odd) if t is spoilt else t for t in call.tensors)), REFUSED
    return replace(call, outputs=((odd, {}),)), REFUSED


def _model(random: Random, call: Call) -> tuple[Call, Expected]:
    if random.random() < 0.5:
        return replace(call, model=pick(random, ("nothing", "SIFIGAN", "sifigan2", "m" * 5000))), REFUSED
    # Triton reads a version as far as it is a number.
    return replace(call, version=pick(random, ("2", "0", "-1", "9223372036854775808", "x", "1.0", "01x"))), EITHER


def _strings(random: Random, call: Call) -> tuple[Call, Expected]:
    """Text whose lengths lie, as a tensor of text or of numbers."""
    tensor = pick(random, call.tensors)
    lengths = pick(random, ([2**32 - 1], [2**31], [5, 5], [0], [-1, 3], [1000000]))
    data = bytes_tensor(lengths, b"abc")
    if random.random() < 0.5:
        return call.with_tensor(tensor.name, datatype="BYTES", shape=(len(lengths),), data=data), REFUSED
    return call.with_tensor(tensor.name, datatype="BYTES", data=data), REFUSED


def _parameters(random: Random, call: Call) -> tuple[Call, Expected]:
    names = (
        "timeout", "priority", "sequence_id", "sequence_start", "sequence_end", "binary_data_output", "unknown",
        "triton_enable_empty_final_response", "headers", "correlation_id", "", "classification", "triton_x",
    )  # fmt: skip
    values: tuple[Any, ...] = (
        -1, 0, 1, 2**31, 2**32, 2**63 - 1, -(2**63), 2**64 - 1, True, False, "", "x", "1", 1.5, -0.0, 1e300, None, [],
        {}, [1], {"a": 1}, "y" * 10000,
    )  # fmt: skip
    chosen = {pick(random, names): pick(random, values) for _ in range(int(random.integers(1, 4)))}
    return replace(call, parameters=chosen), EITHER


def _regions(random: Random, call: Call) -> tuple[Call, Expected]:
    """Shared memory that nobody registered."""
    sizes = (len(call.tensors[0].data), 0, -1, 2**63 - 1, 2**64 - 1, "4", None)
    given = {
        "shared_memory_region": pick(random, ("nothing", "", "/dev/shm/x", "../../etc/passwd", 7)),
        "shared_memory_byte_size": pick(random, sizes),
        "shared_memory_offset": pick(random, (0, -1, 2**63 - 1, 8)),
    }
    kept = {name: value for name, value in given.items() if random.random() < 0.9}
    if random.random() < 0.5:
        return call.with_tensor(pick(random, call.tensors).name, parameters=kept), EITHER
    return replace(call, outputs=(("waveform", kept),)), EITHER


def _classes(random: Random, call: Call) -> tuple[Call, Expected]:
    """Ask for the largest samples as classes, which Triton can do with any output."""
    count = pick(random, (0, 1, 3, -1, 2**31, 2**62, 2**63 - 1, -(2**63), "3", 1.5, True))
    return replace(call, outputs=((pick(random, ("waveform", "pcm16")), {"classification": count}),)), Expected.ANSWERED


def _output_twice(random: Random, call: Call) -> tuple[Call, Expected]:
    return replace(call, outputs=(("waveform", {}),) * pick(random, (2, 100))), EITHER


SPOILERS: dict[str, tuple[float, Spoil]] = {
    "off by one": (5, _off_by_one),
    "wrong type": (5, _datatype),
    "wrong shape": (5, _shape),
    "wrong width": (2, _width),
    "sizes that overflow": (7, _dimensions),
    "bytes against shape": (5, _size),
    "empty": (2, _empty),
    "NaN, Inf": (4, _not_finite),
    "NaN, Inf, repaired": (1, _repaired),
    "huge values": (4, _huge),
    "pitch out of range": (3, _bad_f0),
    "random bits": (3, _bits),
    "options": (3, _option),
    "missing input": (2, _missing),
    "repeated input": (1.5, _repeated),
    "unknown name": (3, _unknown),
    "unknown model": (2, _model),
    "lying strings": (3, _strings),
    "parameters": (4, _parameters),
    "shared memory": (3, _regions),
    "classification": (1.5, _classes),
    "repeated output": (0.5, _output_twice),
}


def _maker(spoil: Spoil) -> Maker:
    def make(random: Random, world: World) -> Case:
        call, expected = spoil(random, world.call(random))
        return Case(pick(random, WRITERS)(call), expected, call.frames)

    return make


KINDS: Kinds = {name: (weight, _maker(spoil)) for name, (weight, spoil) in SPOILERS.items()}

"""Bodies in JSON that are wrong as JSON, or that mean another thing than they seem to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from benchmarks.fuzz.call import HEADER_LENGTH, as_binary, as_json, post
from benchmarks.fuzz.case import Case, Expected, Kinds, Random, World, pick

SHAPES = (
    "[4611686018427387904]", "[2147483648,8589934592]", "[4294967296,4294967296]", "[-1]", "[-1,-1]", "[1e400]",
    "[1e3]", "[1.5]", "[9223372036854775807]", "[9223372036854775808]", "[18446744073709551615]",
    "[18446744073709551616]", "[2305843009213693952]", "[1152921504606846976]", "[1152921504606846977]",
    "[4611686018427387905]",
    "[-9223372036854775808]", "[0]", "[]", "[[1]]", "[null]", '["1"]', "[true]", "{}", "null", '"1"', "1", "[1,]",
    "[" + "1," * 10000 + "1]", "[" + "0," * 1000 + "1]", "[-4611686018427387904]", "[4611686018427387904,0]", "[NaN]",
    "[Infinity]", "[1" + "0" * 400 + "]", "[100000000]", "[10000000000]", "[536870912]", "[1073741824]", "[4294967297]",
    "[-2,-2]", "[3037000500,3037000500]",
)  # fmt: skip
DATA = (
    "[1e400]", "[-1e400]", "[NaN]", "[Infinity]", "[null]", '["1"]', "[true]", "{}", "null", '"1"', "1", "[]", "[[]]",
    "[{}]", "[1,]", "[1e39]", "[1" + "0" * 5000 + "]", "[0." + "0" * 5000 + "1]", "[18446744073709551616]", "[-0]",
    "[00]", "[1 2]", "[0x10]", "[" * 2000 + "1" + "]" * 2000, "[1e-400]", "[[1,2],[3]]",
)  # fmt: skip
SIZES = (
    "-1", "0", "1", "9223372036854775808", "9223372036854775807", "18446744073709551615", "4294967296", "1e3", "1.5",
    '"4"', "null", "[]", "true", "-9223372036854775808", "100000000", "18446744073709551616",
)  # fmt: skip
KEYS = ("inputs", "outputs", "name", "datatype", "shape", "data", "parameters", "id")


def _marked(random: Random, world: World) -> tuple[dict[str, Any], str, int]:
    """Return a good request, its path and its frames."""
    call = world.call(random)
    return as_json(replace(call, request_id="7")), call.path, call.frames


def _text(document: Any, raw: str) -> str:
    """Write JSON, with `raw` in the place of the string "@@"."""
    return json.dumps(document).replace('"@@"', raw)


def _shape(random: Random, world: World) -> Case:
    document, path, frames = _marked(random, world)
    raw = pick(random, SHAPES)
    tensor = pick(random, document["inputs"])
    tensor["shape"] = "@@"
    if random.random() < 0.3:
        tensor["data"] = pick(random, ([], [0], [0.0] * 100))
    if random.random() < 0.2:
        document["inputs"] = [tensor]
    # A shape that is an escape of the same is one that a filter of text would not see.
    text = _text(document, raw)
    if random.random() < 0.2:
        text = text.replace('"shape"', pick(random, (r'"sh\u0061pe"', r'"\u0073hape"', r'"shap\u0065"')))
    return Case(post(path, text.encode()), Expected.EITHER, frames, note=raw[:40])


def _data(random: Random, world: World) -> Case:
    document, path, frames = _marked(random, world)
    raw = pick(random, DATA)
    pick(random, document["inputs"])["data"] = "@@"
    return Case(post(path, _text(document, raw).encode()), Expected.EITHER, frames, note=raw[:40])


def _part(random: Random, world: World) -> Case:
    """A part of a wrong kind."""
    document, path, frames = _marked(random, world)
    raw = pick(
        random, (*DATA[:13], '"x"', '"\\ud800"', '"\\u0000"', "1e5", "9223372036854775808", '"' + "y" * 100000 + '"')
    )
    where: Any = pick(random, (document, pick(random, document["inputs"]), pick(random, document["outputs"])))
    where[pick(random, KEYS)] = "@@"
    return Case(post(path, _text(document, raw).encode()), Expected.EITHER, frames, note=raw[:40])


def _twice(random: Random, world: World) -> Case:
    """A key twice, where the first and the last may be read by different readers."""
    document, path, frames = _marked(random, world)
    key = pick(random, ("shape", "data", "datatype", "name"))
    tensor = pick(random, document["inputs"])
    odd = pick(random, {"shape": SHAPES, "data": DATA}.get(key, ('"FP64"', '"f0"', "1", "null")))
    wrong, right = f'"{key}": {odd}', f'"{key}": {json.dumps(tensor[key])}'
    both = (wrong, right) if random.random() < 0.5 else (right, wrong)
    rest = json.dumps({name: value for name, value in tensor.items() if name != key})[1:-1]
    text = json.dumps({**document, "inputs": ["@@" if t is tensor else t for t in document["inputs"]]})
    text = text.replace('"@@"', "{" + ", ".join((*both, rest)) + "}")
    return Case(post(path, text.encode()), Expected.EITHER, frames, note=f"{key} twice: {odd[:40]}")


def _nested(random: Random, world: World) -> Case:
    document, path, frames = _marked(random, world)
    depth = pick(random, (100, 1000, 10000, 100000, 1000000))
    opening, closing = pick(random, (("[", "]"), ('{"a":', "}"), ("[", ""), ('{"a":[', "]}")))
    raw = opening * depth + "1" + closing * depth
    what = int(random.integers(4))
    if what == 0:
        return Case(post(path, raw.encode()), Expected.REFUSED, frames, note=f"{opening} x {depth}")
    if what == 1:
        pick(random, document["inputs"])["data"] = "@@"
    elif what == 2:
        document["parameters"] = "@@"
    else:
        document["unknown"] = "@@"
    return Case(post(path, _text(document, raw).encode()), Expected.EITHER, frames, note=f"{opening} x {depth}")


def _malformed(random: Random, world: World) -> Case:
    """Cut, changed or no JSON at all."""
    document, path, frames = _marked(random, world)
    text = bytearray(json.dumps(document).encode())
    what = int(random.integers(4))
    if what == 0:
        text = text[: int(random.integers(len(text)))]
    elif what == 1:
        for _ in range(int(random.integers(1, 20))):
            text[int(random.integers(min(len(text), 300)))] = int(random.integers(256))
    elif what == 2:
        whole = (
            b"",
            b"{",
            b"}",
            b"null",
            b"[]",
            b"{}",
            b"\0" * 100,
            b"\xff\xfe{\0}\0",
            b"\xef\xbb\xbf{}",
            b"1e400",
            b'"',
        )
        text = bytearray(pick(random, whole))
    else:
        at = int(random.integers(len(text)))
        text[at:at] = pick(
            random, (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\0", b"/*", b"\\", b'"', b"\xf4\x90\x80\x80")
        )
    return Case(post(path, bytes(text)), Expected.EITHER, frames)


def _binary_size(random: Random, world: World) -> Case:
    """A `binary_data_size` that lies."""
    call = world.call(random)
    header, data = as_binary(call)
    raw = pick(random, SIZES)
    for tensor in header["inputs"] if random.random() < 0.3 else [pick(random, header["inputs"])]:
        tensor["parameters"]["binary_data_size"] = "@@"
    text = _text(header, raw).encode()
    wire = post(call.path, text + data, (HEADER_LENGTH, str(len(text))))
    return Case(wire, Expected.REFUSED, call.frames, note=raw)


def _header_length(random: Random, world: World) -> Case:
    """An `Inference-Header-Content-Length` that lies."""
    call = world.call(random)
    header, data = as_binary(call)
    text = json.dumps(header).encode()
    whole = len(text) + len(data)
    lies: tuple[object, ...] = (
        0, 1, -1, len(text) - 1, len(text) + 1, whole, whole + 1, 2**31, 2**32 + len(text), 2**63, 2**64, 2**64 + 1,
        "x", "", "1e3", f" {len(text)} x", -(2**63), 2**31 - 1,
    )  # fmt: skip
    lie = pick(random, lies)
    wire = post(call.path, text + data, (HEADER_LENGTH, str(lie)))
    # Triton reads a number as far as it is one, modulo 2^32.
    return Case(wire, Expected.EITHER, call.frames, note=str(lie))


KINDS: Kinds = {
    "JSON: shape": (6, _shape),
    "JSON: values": (4, _data),
    "JSON: part of a wrong kind": (4, _part),
    "JSON: key twice": (3, _twice),
    "JSON: nested": (1.5, _nested),
    "JSON: malformed": (5, _malformed),
    "binary_data_size": (4, _binary_size),
    "header length": (3, _header_length),
}

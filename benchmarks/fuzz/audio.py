"""The audio in an answer."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from benchmarks.fuzz.call import CODES, HEADER_LENGTH
from benchmarks.fuzz.wire import Answer

Arrays = dict[str, npt.NDArray[Any]]
TYPES = {"waveform": "FP32", "pcm16": "INT16"}


def read_audio(answer: Answer) -> Arrays:
    """Return the outputs of a good answer by name.

    Raises:
        ValueError: if it is none.

    """
    try:
        return _read_http(answer) if answer.status == "HTTP 200" else _read_grpc(answer.body)
    except Exception as error:
        raise ValueError(f"no answer of the protocol: {error!r}") from error


def fault(audio: Arrays, frames: int, hop_size: int) -> str | None:
    """Say what is wrong with audio that should be finite and of a length; None if nothing is."""
    if not audio:
        return "no outputs"
    for name, values in audio.items():
        if name not in TYPES or values.dtype != np.dtype(CODES[TYPES[name]]):
            return f"output {name!r} of type {values.dtype}"
        if values.shape != (frames * hop_size,):
            return f"{name} of shape {values.shape}, expected {(frames * hop_size,)}"
        if not np.isfinite(values).all():
            return f"{name} holds NaN or Inf"
        if values.dtype == np.float32 and np.abs(values).max() > 1.0:
            return f"{name} of {np.abs(values).max()}, expected at most 1"
    return None


def same(audio: Arrays, reference: Arrays) -> bool:
    """Tell whether two answers hold bitwise the same."""
    return audio.keys() == reference.keys() and all(np.array_equal(audio[name], reference[name]) for name in audio)


def _read_http(answer: Answer) -> Arrays:
    # The header of gzip or of zlib is detected (32).
    body = zlib.decompress(answer.body, 32 + 15) if "content-encoding" in answer.headers else answer.body
    length = int(answer.headers.get(HEADER_LENGTH.lower(), len(body)))
    header, rest = json.loads(body[:length]), body[length:]
    audio: Arrays = {}
    for output in header["outputs"]:
        code = np.dtype(CODES[output["datatype"]])
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = np.array(output["data"], code)
        else:
            values, rest = np.frombuffer(rest[:size], code), rest[size:]
        audio[output["name"]] = values.reshape(output["shape"])
    return audio


def _read_grpc(body: bytes) -> Arrays:
    message = service_pb2.ModelInferResponse.FromString(body)
    pairs = zip(message.outputs, message.raw_output_contents, strict=True)
    return {o.name: np.frombuffer(data, CODES[o.datatype]).reshape(tuple(o.shape)) for o, data in pairs}

"""An inference request, right or wrong, and the four ways in which it is written."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2
from tritonclient.utils import np_to_triton_dtype

from benchmarks.fuzz.wire import GrpcMessages, HttpBytes

CODES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
HEADER_LENGTH = "Inference-Header-Content-Length"
_FIELDS = {
    "BOOL": "bool_contents", "INT32": "int_contents", "INT64": "int64_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents",
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """An input; nothing says that its parts fit each other."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes
    parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, values: npt.NDArray[Any]) -> Tensor:
        """Make one that is right."""
        return cls(name, np_to_triton_dtype(values.dtype), values.shape, values.tobytes())

    @property
    def values(self) -> list[Any]:
        """Its data as numbers; bytes where the type has no numbers."""
        if self.datatype not in CODES:
            return [self.data.decode("latin-1")]
        code = np.dtype(CODES[self.datatype])
        found: list[Any] = np.frombuffer(self.data[: len(self.data) // code.itemsize * code.itemsize], code).tolist()
        return found


Outputs = tuple[tuple[str, dict[str, Any]], ...]
"""Names with parameters."""


@dataclass(frozen=True)
class Call:
    """A request; `frames` is the length of its utterance."""

    tensors: tuple[Tensor, ...]
    frames: int
    model: str = "sifigan"
    version: str = ""
    outputs: Outputs = (("waveform", {}),)
    parameters: dict[str, Any] = field(default_factory=dict)
    request_id: str = ""

    @classmethod
    def of(cls, arrays: dict[str, npt.NDArray[Any]], **rest: Any) -> Call:
        """Make one that is right."""
        tensors = tuple(Tensor.of(name, values) for name, values in arrays.items())
        return cls(tensors, len(arrays["f0"]), **rest)

    def tensor(self, name: str) -> Tensor:
        """Return one of its tensors."""
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def with_tensor(self, name: str, **changes: Any) -> Call:
        """Return it with one tensor changed."""
        changed = (replace(t, **changes) if t.name == name else t for t in self.tensors)
        return replace(self, tensors=tuple(changed))

    @property
    def path(self) -> str:
        """Where it is sent over HTTP."""
        return f"/v2/models/{self.model}{f'/versions/{self.version}' if self.version else ''}/infer"


def as_json(call: Call) -> dict[str, Any]:
    """Return it with its values in JSON."""
    inputs = [
        {"name": t.name, "datatype": t.datatype, "shape": list(t.shape), "parameters": t.parameters, "data": t.values}
        for t in call.tensors
    ]
    outputs = [{"name": name, "parameters": parameters} for name, parameters in call.outputs]
    return {"id": call.request_id, "inputs": inputs, "outputs": outputs, "parameters": call.parameters}


def as_binary(call: Call) -> tuple[dict[str, Any], bytes]:
    """Return its header, and its values behind it."""
    header = as_json(call)
    for tensor, written in zip(call.tensors, header["inputs"], strict=True):
        del written["data"]
        written["parameters"] = {"binary_data_size": len(tensor.data), **tensor.parameters}
    for output in header["outputs"]:
        output["parameters"] = {"binary_data": True, **output["parameters"]}
    return header, b"".join(tensor.data for tensor in call.tensors)


def post(path: str, body: bytes, *headers: tuple[str, str], **options: Any) -> HttpBytes:
    """Return a POST whose head fits its body."""
    return HttpBytes((head("POST", path, ("Content-Length", str(len(body))), *headers), body), **options)


def head(method: str, path: str, *headers: tuple[str, str], version: str = "HTTP/1.1") -> bytes:
    """Return the head of a request."""
    lines = [f"{method} {path} {version}", "Host: localhost", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def json_post(call: Call) -> HttpBytes:
    """Write it in JSON."""
    return post(call.path, json.dumps(as_json(call)).encode())


def binary_post(call: Call) -> HttpBytes:
    """Write it in JSON with binary values."""
    header, data = as_binary(call)
    text = json.dumps(header).encode()
    return post(call.path, text + data, (HEADER_LENGTH, str(len(text))))


def as_message(call: Call, typed: bool = False) -> Any:
    """Return it as a protobuf message, whose fields still can be changed; `typed`: values as numbers."""
    message = service_pb2.ModelInferRequest(model_name=call.model, model_version=call.version, id=call.request_id)
    _fill(message.parameters, call.parameters)
    for tensor in call.tensors:
        shape = [min(max(size, -(2**63)), 2**63 - 1) for size in tensor.shape]
        written = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
        _fill(written.parameters, tensor.parameters)
        if typed and tensor.datatype in _FIELDS:
            getattr(written.contents, _FIELDS[tensor.datatype]).extend(tensor.values)
        elif typed:
            written.contents.bytes_contents.append(tensor.data)
        else:
            message.raw_input_contents.append(tensor.data)
    for name, parameters in call.outputs:
        _fill(message.outputs.add(name=name).parameters, parameters)
    return message


def grpc_raw(call: Call) -> GrpcMessages:
    """Write it in protobuf with binary values."""
    return GrpcMessages("ModelInfer", (as_message(call).SerializeToString(),))


def grpc_typed(call: Call) -> GrpcMessages:
    """Write it in protobuf with numbers."""
    return GrpcMessages("ModelInfer", (as_message(call, typed=True).SerializeToString(),))


def bytes_tensor(lengths: list[int], content: bytes) -> bytes:
    """Return the data of a BYTES tensor whose elements claim these lengths."""
    return b"".join(struct.pack("<I", length % 2**32) + content for length in lengths)


def _fill(fields: Any, parameters: dict[str, Any]) -> None:
    for name, value in parameters.items():
        if isinstance(value, bool):
            fields[name].bool_param = value
        elif isinstance(value, int):
            fields[name].int64_param = min(max(value, -(2**63)), 2**63 - 1)
        elif isinstance(value, str):
            fields[name].string_param = value
        elif isinstance(value, float):
            fields[name].double_param = value

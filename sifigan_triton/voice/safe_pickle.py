"""Statistics `.joblib` files, read without running code from them.

`joblib.dump` writes a pickle in which every NumPy array is a `NumpyArrayWrapper` object followed by the array's raw
bytes. The unpickler here admits the few globals that such a file needs and answers each with an inert stand-in, so
nothing of NumPy, joblib or scikit-learn is called by the file, and neither of the last two has to be installed.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import pickle
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from preprocess.limits import shown
from sifigan_triton.files import read_at_most
from sifigan_triton.voice import CheckpointError

MAX_BYTES = 2**20
"""Largest statistics file, in bytes, packed and unpacked; a real one has some 3,000. Python may take sixty times of it,
where every byte makes an object."""

MAX_UNPACKING_BYTES = 2**27
"""Most memory for unpacking LZMA, in bytes: its strongest preset takes 65 MiB. The file's first bytes ask for it."""

MAX_RANK = 2
"""Highest rank of an array; statistics are rows."""

EXPECTED = (
    "expected the .joblib file that the public compute_statistics script writes (data.stats in the training's YAML)"
)
"""What every refusal of another file asks for."""

_OTHER_FILES = {
    b"PK\x03\x04": "a PyTorch checkpoint, or another zip archive",
    b"\x93NUMPY": "a single NumPy array",
    b"\x89HDF": "an HDF5 file",
}
"""First bytes of files that are taken for statistics."""

_DECOMPRESSORS: dict[bytes, Callable[[io.BytesIO], Any]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"BZ": bz2.BZ2File,
}

_LZMA = (b"\xfd7zXZ", b"\x5d\x00")
"""First bytes of xz and of LZMA."""


class _StandIn:
    """Takes the place of a global; a state it does not expect is refused, so nothing can be planted in it."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"{type(self).__name__.lstrip('_')} has an unexpected state")


class _NDArrayType(_StandIn):
    """`numpy.ndarray`, only ever named as the type of an array."""


class _DType(_StandIn):
    """`numpy.dtype` of a number."""

    def __init__(self, code: str, *_: bool) -> None:
        if not (isinstance(code, str) and re.fullmatch(r"[fiu][1248]", code)):
            raise pickle.UnpicklingError(f"array of dtype {shown(code)}, expected numbers such as 'f8'")
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple[int, str]) -> None:
        if state[1] not in ("<", ">", "|"):
            raise pickle.UnpicklingError(f"array of byte order {shown(state[1])}, expected '<', '>' or '|'")
        self.order = state[1]

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array(_StandIn):
    """An array or a scalar."""

    array: npt.NDArray[Any]

    def fill(self, data: bytes, dtype: _DType, shape: tuple[int, ...], order: str) -> None:
        """Decode raw bytes."""
        _check_shape(shape)
        if len(data) != math.prod(shape) * dtype.numpy.itemsize:
            raise pickle.UnpicklingError(f"{len(data)} bytes for an array of shape {shape}, the file is cut short")
        self.array = np.frombuffer(bytes(data), dtype.numpy).reshape(shape, order="F" if order == "F" else "C")


class _Scalar(_Array):
    """`numpy.core.multiarray.scalar`."""

    def __init__(self, dtype: _DType, data: bytes) -> None:
        self.fill(data, dtype, (), "C")


class _Buffer(_Array):
    """`numpy.core.numeric._frombuffer`: an array of pickle protocol 5."""

    def __init__(self, data: bytes, dtype: _DType, shape: tuple[int, ...], order: str) -> None:
        self.fill(data, dtype, shape, order)


class _Reconstructed(_Array):
    """`numpy.core.multiarray._reconstruct`: an array of the pickle protocols before 5."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: tuple[int, tuple[int, ...], _DType, bool, bytes]) -> None:
        _, shape, dtype, fortran, data = state
        self.fill(data, dtype, shape, "F" if fortran else "C")


class _WrappedArray(_Array):
    """`joblib.numpy_pickle.NumpyArrayWrapper`: the array's bytes follow in the file, behind optional padding."""

    stream: ClassVar[io.BytesIO]

    def __setstate__(self, state: dict[str, Any]) -> None:
        dtype, shape = state["dtype"], state["shape"]
        _check_shape(shape)
        if state.get("numpy_array_alignment_bytes") is not None:
            self.stream.read(self.stream.read(1)[0])
        self.fill(self.stream.read(math.prod(shape) * dtype.numpy.itemsize), dtype, shape, state["order"])


def _check_shape(shape: Any) -> None:
    """Refuse a shape that takes memory or time to multiply, or that reads backwards."""
    if not isinstance(shape, tuple) or len(shape) > MAX_RANK:
        raise pickle.UnpicklingError(f"array of shape {shown(shape)}, expected at most {MAX_RANK} numbers")
    if not all(isinstance(size, int) and 0 <= size < 2**32 for size in shape):
        raise pickle.UnpicklingError(f"array of shape {shown(shape)}, expected sizes of 0 or more")


class _StandardScaler(_StandIn):
    """`sklearn.preprocessing.StandardScaler`."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.attributes = {k: v.array if isinstance(v, _Array) else v for k, v in state.items()}


_ADMITTED: dict[tuple[str, str], type[_StandIn]] = {
    ("numpy", "ndarray"): _NDArrayType,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _Reconstructed,
    ("numpy._core.multiarray", "_reconstruct"): _Reconstructed,  # NumPy 2
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy._core.multiarray", "scalar"): _Scalar,
    ("numpy.core.numeric", "_frombuffer"): _Buffer,
    ("numpy._core.numeric", "_frombuffer"): _Buffer,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _WrappedArray,
    ("sklearn.preprocessing._data", "StandardScaler"): _StandardScaler,
    ("sklearn.preprocessing.data", "StandardScaler"): _StandardScaler,  # scikit-learn before 0.22
}


class _Unpickler(pickle._Unpickler):
    """Admits stand-ins only.

    It is Python's own unpickler in Python, which joblib builds on too. That in C makes room for as many remembered
    objects as 5 bytes of the file ask for. It takes no byte beyond the operation it runs (joblib closes the frame in
    front of an array's bytes); the stand-in of the wrapper can therefore read those bytes from the same stream.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    stack: list[Any]

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self._wrapped_array = type("_WrappedArray", (_WrappedArray,), {"stream": stream})

    def load_bytearray8(self) -> None:
        """Read the bytes before room is made for them."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def load_setitem(self) -> None:
        """Take an entry of a dictionary."""
        value = self.stack.pop()
        self._set(self.stack.pop(), value, self.stack[-1])

    def load_setitems(self) -> None:
        """Take entries of a dictionary."""
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(key, value, self.stack[-1])

    def load_dict(self) -> None:
        """Make a dictionary of its entries."""
        items = self.pop_mark()
        self.append({})
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(key, value, self.stack[-1])

    def persistent_load(self, _: Any) -> None:
        """Refuse what refers to objects outside the file."""
        raise pickle.UnpicklingError("refers to objects outside the file (persistent_load), which no such file does")

    def refuse(self) -> None:
        """Refuse what no such file has: hashing nested tuples may never end."""
        raise pickle.UnpicklingError("holds a set, expected the file that the public compute_statistics script writes")

    @staticmethod
    def _set(key: Any, value: Any, target: Any) -> None:
        if not isinstance(key, str) or not isinstance(target, dict):
            raise pickle.UnpicklingError(f"has a key that is {type(key).__name__}, expected text in a dictionary")
        target[key] = value

    dispatch |= {pickle.BYTEARRAY8[0]: load_bytearray8, pickle.SETITEM[0]: load_setitem}
    dispatch |= {pickle.SETITEMS[0]: load_setitems, pickle.DICT[0]: load_dict}
    dispatch |= {pickle.ADDITEMS[0]: refuse, pickle.FROZENSET[0]: refuse}

    def find_class(self, module: str, name: str) -> type[_StandIn]:
        stand_in = _ADMITTED.get((module, name))
        if stand_in is None:
            raise pickle.UnpicklingError(
                f"asks for the global {f'{module}.{name}'[:60]}, expected NumPy arrays and StandardScalers only; "
                "nothing was run: take the file that the public compute_statistics script writes"
            )
        return self._wrapped_array if stand_in is _WrappedArray else stand_in


def load_scalers(path: Path) -> dict[str, dict[str, Any]]:
    """Read a dictionary of scikit-learn StandardScalers as `joblib.dump` wrote it, compressed or not.

    Args:
        path: the file; plain, or compressed with zlib, gzip, bz2, lzma or xz. A plain pickle is read too.

    Returns:
        For each key the attributes of its scaler (`mean_`, `scale_`, `with_mean`, ...), arrays as NumPy arrays.

    Raises:
        CheckpointError: naming the file and the first global that is not admitted, or what is damaged.

    """
    try:
        data = read_at_most(path, MAX_BYTES)
        for magic, what in _OTHER_FILES.items():
            if data.startswith(magic):
                raise CheckpointError(f"{path}: {what}, {EXPECTED}")
        scalers = _Unpickler(io.BytesIO(_decompressed(data))).load()
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:  # noqa: BLE001 - pickle documents no closed set of exceptions for damaged input
        reason = f"{type(error).__name__}: {error}"[:200]
        raise CheckpointError(f"{path}: not a statistics file, or damaged ({reason})") from None
    return _attributes(path, scalers)


def _attributes(path: Path, scalers: Any) -> dict[str, dict[str, Any]]:
    """Return the attributes of each scaler of what was unpickled."""
    for kind, what in ((_Array, "NumPy array"), (_StandardScaler, "StandardScaler")):
        if isinstance(scalers, kind):
            raise CheckpointError(f"{path}: holds a single {what}, {EXPECTED}")
    if not isinstance(scalers, dict):
        raise CheckpointError(f"{path}: holds a {type(scalers).__name__}, expected a dictionary of StandardScalers")
    found = {
        key: value.attributes
        for key, value in scalers.items()
        if isinstance(value, _StandardScaler) and hasattr(value, "attributes")
    }
    if not found:
        raise CheckpointError(f"{path}: holds a dictionary without StandardScalers, {EXPECTED}")
    return found


def _decompressed(data: bytes) -> bytes:
    """Return the pickle inside `data`, at most `MAX_BYTES`."""
    if data[:1] == b"\x78":
        out = zlib.decompressobj().decompress(data, MAX_BYTES + 1)
    elif data.startswith(_LZMA):
        out = lzma.LZMADecompressor(memlimit=MAX_UNPACKING_BYTES).decompress(data, MAX_BYTES + 1)
    else:
        opener = next((opener for magic, opener in _DECOMPRESSORS.items() if data.startswith(magic)), None)
        out = data if opener is None else opener(io.BytesIO(data)).read(MAX_BYTES + 1)
    if len(out) > MAX_BYTES:
        raise pickle.UnpicklingError(f"more than {MAX_BYTES:,} bytes, expected the statistics of five features")
    return out

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pickle
import re
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from sifigan_triton.voice import CheckpointError
from sifigan_triton.voice.safe_pickle import MAX_BYTES, load_scalers

DATA = Path(__file__).parents[1] / "data"
WIDTHS = {"f0": 1, "cf0": 1, "uv": 1, "mcep": 40, "bap": 3}


def assert_expected(scalers: dict[str, dict[str, Any]]) -> None:
    """Compare with what tests/data/make_stats.py put in."""
    assert list(scalers) == list(WIDTHS)
    for key, width in WIDTHS.items():
        np.testing.assert_allclose(scalers[key]["mean_"], np.arange(width) - 1.0, rtol=0.0, atol=1e-12)
        np.testing.assert_allclose(scalers[key]["scale_"], (np.arange(width) + 4) / 8.0, rtol=1e-12)


@pytest.mark.parametrize("name", ["stats.joblib", "stats-numpy1.joblib", "stats.zlib.joblib"])
def test_files_of_joblib_are_read(name: str) -> None:
    assert_expected(load_scalers(DATA / name))


def test_neither_joblib_nor_scikit_learn_is_imported() -> None:
    load_scalers(DATA / "stats.joblib")
    assert not {"joblib", "sklearn"} & set(sys.modules)


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_are_read(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "stats.joblib"
    path.write_bytes(compress((DATA / "stats.joblib").read_bytes()))
    assert_expected(load_scalers(path))


@pytest.fixture
def scaler_class(monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """Put a class in the place of the real StandardScaler, so that plain pickles can be made here."""
    module = ModuleType("sklearn.preprocessing._data")
    scaler = type("StandardScaler", (), {"__module__": module.__name__})
    monkeypatch.setattr(module, "StandardScaler", scaler, raising=False)
    for name in ("sklearn", "sklearn.preprocessing"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return scaler


def write_scaler(path: Path, scaler_class: type[Any], protocol: int = 4, **attributes: Any) -> None:
    scaler = scaler_class()
    vars(scaler).update(attributes)
    path.write_bytes(pickle.dumps({"mcep": scaler}, protocol=protocol))


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i8", "|u1"])
def test_plain_pickles_are_read(tmp_path: Path, scaler_class: type[Any], protocol: int, dtype: str) -> None:
    array = np.arange(6).astype(dtype).reshape(2, 3)
    write_scaler(tmp_path / "s", scaler_class, protocol, c=array, f=np.asfortranarray(array), n=np.int64(7))
    read = load_scalers(tmp_path / "s")["mcep"]
    np.testing.assert_array_equal(read["c"], array)
    np.testing.assert_array_equal(read["f"], array)
    assert read["n"] == 7


@pytest.mark.parametrize("protocol", [4, 5])
def test_array_of_objects_is_refused(tmp_path: Path, scaler_class: type[Any], protocol: int) -> None:
    write_scaler(tmp_path / "s", scaler_class, protocol, mean_=np.array([1, None], dtype=object))
    with pytest.raises(CheckpointError, match=r"array of dtype 'O8', expected numbers"):
        load_scalers(tmp_path / "s")


class Calls:
    """An object whose unpickling calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


MALICIOUS: dict[str, tuple[Callable[..., Any], tuple[object, ...], str]] = {
    "os.system": (os.system, ("touch made",), r"asks for the global posix\.system"),
    "eval": (eval, ("open('made', 'w')",), r"asks for the global (__builtin__|builtins)\.eval"),
    "numpy.load": (np.load, ("made", None, True), r"asks for the global numpy\.load"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("case", MALICIOUS)
def test_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, protocol: int) -> None:
    function, arguments, message = MALICIOUS[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stats.joblib").write_bytes(pickle.dumps({"mcep": Calls(function, *arguments)}, protocol=protocol))
    with pytest.raises(CheckpointError, match=rf"stats\.joblib: {message}.*nothing was run"):
        load_scalers(tmp_path / "stats.joblib")
    assert not (tmp_path / "made").exists()


HAND_MADE = {
    "build-on-a-class": (b"\x80\x04cnumpy\nndarray\n}b.", r"not a statistics file, or damaged \(TypeError"),
    "state-of-a-marker": (b"\x80\x04cnumpy\nndarray\n)\x81}b.", r"NDArrayType has an unexpected state"),
    "dtype-of-fields": (b"\x80\x04cnumpy\ndtype\nX\x05\x00\x00\x00f8,O8\x85R.", r"dtype 'f8,O8', expected numbers"),
    "no-dictionary": (b"\x80\x04K\x01.", r"holds a int, expected a dictionary"),
    "persistent-id": (b"\x80\x04K\x01Q.", r"persistent_load"),
    "short-scalar": (
        b"\x80\x04cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00f8\x85RC\x03abc\x86R.",
        r"3 bytes for an array of shape \(\), the file is cut short",
    ),
    "wrapper-without-bytes": (
        b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(X\x05\x00\x00\x00shapeJ\xff\xff\xff\x7f\x85"
        b"X\x05\x00\x00\x00dtypecnumpy\ndtype\nX\x02\x00\x00\x00f8\x85RX\x05\x00\x00\x00orderX\x01\x00\x00\x00Cub.",
        r"1 bytes for an array of shape \(2147483647,\), the file is cut short",
    ),
    "empty": (b"", r"not a statistics file, or damaged \(EOFError"),
    "text": (b"no pickle", r"stats\.joblib: "),
}


@pytest.mark.parametrize(("data", "message"), HAND_MADE.values(), ids=HAND_MADE.keys())
def test_malformed_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "stats.joblib").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        load_scalers(tmp_path / "stats.joblib")


@pytest.mark.parametrize("length", range(0, 2500, 250))
def test_file_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    (tmp_path / "stats.joblib").write_bytes((DATA / "stats.joblib").read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"stats\.joblib: "):
        load_scalers(tmp_path / "stats.joblib")


def test_file_that_grows_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stats.joblib").write_bytes(gzip.compress(bytes(MAX_BYTES + 1), 1))
    with pytest.raises(CheckpointError, match=r"more than 1,048,576 bytes"):
        load_scalers(tmp_path / "stats.joblib")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.joblib: No such file or directory"):
        load_scalers(tmp_path / "absent.joblib")


def test_another_file_is_told_from_a_statistics_file(tmp_path: Path, scaler_class: type[Any]) -> None:
    scaler = scaler_class()
    vars(scaler).update(mean_=np.zeros(3))
    torch.save({"model": {}}, tmp_path / "checkpoint.pkl")
    np.save(tmp_path / "in_vocoder_scaler_mean.npy", np.zeros(67))
    (tmp_path / "stats.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "std.pkl").write_bytes(pickle.dumps(np.zeros(3)))
    (tmp_path / "scaler.pkl").write_bytes(pickle.dumps(scaler))
    (tmp_path / "numbers.pkl").write_bytes(pickle.dumps({"mcep": [1.0]}))
    wanted = r".* expected the \.joblib file that the public compute_statistics script writes \(data\.stats in the "
    for name, what in {
        "checkpoint.pkl": "a PyTorch checkpoint, or another zip archive",
        "in_vocoder_scaler_mean.npy": "a single NumPy array",
        "stats.h5": "an HDF5 file",
        "std.pkl": "holds a single NumPy array",
        "scaler.pkl": "holds a single StandardScaler",
        "numbers.pkl": "holds a dictionary without StandardScalers",
    }.items():
        with pytest.raises(CheckpointError, match=rf"{re.escape(name)}: {what},{wanted}"):
            load_scalers(tmp_path / name)


def nested(innermost: bytes) -> bytes:
    """Return pickle operations for a tuple that holds itself twice, 40 levels deep."""
    return innermost + b"2\x86" * 40


WRAPPER = (
    b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}("
    b"X\x05\x00\x00\x00dtypecnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R"
)
SHAPE, END = b"X\x05\x00\x00\x00shape", b"X\x05\x00\x00\x00orderX\x01\x00\x00\x00Cub."
HOSTILE: dict[str, tuple[bytes, str]] = {
    "remembered-at-2^29": (b"\x80\x04]r\xff\xff\xff\x1f" + b"00000.", r"stats\.joblib: "),
    "dictionary-of-lzma": (b"\x5d\x00\x00\x00\x80" + b"\xff" * 9, r"damaged \(LZMAError: Memory usage limit exceeded"),
    "bytearray": (
        b"\x80\x05\x96" + (2**33).to_bytes(8, "little") + b".",
        r"damaged \((EOFError|UnpicklingError)|truncated",
    ),
    "key-that-is-never-hashed": (
        b"\x80\x04}" + nested(b"K\x01") + b"K\x01s.",
        r"has a key that is tuple, expected text",
    ),
    "keys-that-are-never-hashed": (b"\x80\x04}(" + nested(b"K\x01") + b"K\x01u.", r"has a key that is tuple"),
    "keys-of-an-old-dictionary": (b"(" + nested(b"K\x01") + b"K\x01d.", r"has a key that is tuple"),
    "set": (b"\x80\x04\x8f(" + nested(b"K\x01") + b"\x90.", r"holds a set, expected the file that the public"),
    "frozen-set": (b"\x80\x04(" + nested(b"K\x01") + b"\x91.", r"holds a set"),
    "dtype-that-is-never-shown": (b"\x80\x04cnumpy\ndtype\n" + nested(b"K\x01") + b"\x85R.", r"array of dtype \(\("),
    "negative-sizes": (
        WRAPPER + SHAPE + b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86" + END,
        r"expected sizes of 0 or more",
    ),
    "sizes-without-end": (WRAPPER + SHAPE + b"(" + b"J\xff\xff\xff\x7f" * 100000 + b"t" + END, r"at most 2 numbers"),
    "many-objects": (b"\x80\x04(" + b"]" * MAX_BYTES + b"l.", r"more than 1,048,576 bytes"),
}


@pytest.mark.parametrize(("data", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_file_that_takes_memory_or_time_without_end_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "stats.joblib").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=message):
            load_scalers(tmp_path / "stats.joblib")
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()

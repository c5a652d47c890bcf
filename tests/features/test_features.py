"""Features and their file."""

from __future__ import annotations

import pickle
import tracemalloc
import zipfile
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sifigan_triton.features.features import FeatureError, FeatureFileError, Features


def arrays(frames: int = 5) -> dict[str, Any]:
    """Make valid contents of a feature file."""
    rng = np.random.default_rng(frames)
    return {
        "f0": rng.uniform(80.0, 400.0, frames).astype(np.float32),
        "mcep": rng.normal(size=(frames, 40)).astype(np.float32),
        "bap": rng.normal(size=(frames, 3)).astype(np.float32),
        "sample_rate": 24000,
        "frame_period_ms": 5.0,
    }


@pytest.mark.parametrize("frames", [1, 627])
def test_round_trip(tmp_path: Path, frames: int) -> None:
    features = Features(**arrays(frames))
    path = tmp_path / "folder" / "features.npz"
    features.save(path)
    again = Features.load(path)
    for name in ("f0", "mcep", "bap"):
        assert np.array_equal(getattr(again, name), getattr(features, name))
        assert getattr(again, name).dtype == np.float32
    assert (again.sample_rate, again.frame_period_ms) == (24000, 5.0)
    assert [entry.name for entry in path.parent.iterdir()] == ["features.npz"]


def test_properties() -> None:
    features = Features(**arrays(627))
    assert features.frames == 627
    assert features.seconds == pytest.approx(3.135)


def test_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Features(**arrays()).sample_rate = 48000  # type: ignore[misc]


BAD = [
    pytest.param({"mcep": np.zeros((6, 40), np.float32)}, "mcep has 6 frames, expected 5 as f0 has", id="mcep-frames"),
    pytest.param({"bap": np.zeros((4, 3), np.float32)}, "bap has 4 frames, expected 5 as f0 has", id="bap-frames"),
    pytest.param({"f0": np.zeros((5, 1), np.float32)}, r"f0 has shape \(5, 1\), expected \(T,\)", id="f0-rank"),
    pytest.param({"bap": np.zeros(5, np.float32)}, r"bap has shape \(5,\), expected \(T, width\)", id="bap-rank"),
    pytest.param(
        {"f0": np.zeros(0, np.float32)}, r"f0 has shape \(0,\), expected .* at least one frame", id="no-frames"
    ),
    pytest.param({"bap": np.zeros((5, 0), np.float32)}, r"bap has shape \(5, 0\)", id="no-bands"),
    pytest.param(
        {"mcep": np.zeros((5, 40))}, r"mcep is float64, expected float32: pass mcep.astype\(np.float32\)", id="dtype"
    ),
    pytest.param({"sample_rate": 0}, "sample_rate is 0, expected a positive number of Hz", id="sample-rate"),
    pytest.param({"frame_period_ms": -5.0}, "frame_period_ms is -5.0, expected a positive number", id="frame-period"),
    pytest.param(
        {"frame_period_ms": float("nan")}, "frame_period_ms is nan, expected a positive number", id="nan-period"
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_inconsistent_arrays(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        Features(**{**arrays(), **change})


@pytest.mark.parametrize(("change", "message"), BAD)
def test_inconsistent_file(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "x.npz", **{**arrays(), **change})
    with pytest.raises(FeatureFileError, match=r"x\.npz: " + message):
        Features.load(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"sample_rate": 24000.0}, "sample_rate has dtype float64 .* expected an integer", id="float-rate"),
        pytest.param(
            {"frame_period_ms": [5.0]}, r"frame_period_ms .* shape \(1,\), expected a number", id="list-period"
        ),
        pytest.param({"f0": np.array(["a"] * 5)}, "f0 is <U1, expected float32", id="text"),
    ],
)
def test_wrong_values_in_file(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "x.npz", **{**arrays(), **change})
    with pytest.raises(FeatureFileError, match=message):
        Features.load(tmp_path / "x.npz")


def test_missing_array(tmp_path: Path) -> None:
    contents = arrays()
    del contents["bap"]
    np.savez(tmp_path / "x.npz", **contents)
    with pytest.raises(FeatureFileError, match=r"x\.npz: lacks bap; it holds f0, mcep, sample_rate, frame_period_ms"):
        Features.load(tmp_path / "x.npz")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FeatureFileError, match=r"x\.npz: no such file"):
        Features.load(tmp_path / "x.npz")


def test_single_array(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(FeatureFileError, match=r"holds a single array, expected an \.npz file with f0, mcep, bap"):
        Features.load(tmp_path / "x.npy")


@pytest.mark.parametrize("kept", [0, 10, 300], ids=["empty", "head", "half"])
def test_damaged_file(tmp_path: Path, kept: int) -> None:
    Features(**arrays()).save(tmp_path / "x.npz")
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:kept])
    with pytest.raises(FeatureFileError, match=r"x\.npz: not readable as an \.npz file"):
        Features.load(tmp_path / "x.npz")


class Explosive:
    """Something whose unpickling would be seen."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("kind", ["array-in-npz", "bare-pickle"])
def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.npz"
    if kind == "bare-pickle":
        path.write_bytes(pickle.dumps(Explosive()))
    else:
        np.savez(path, **{**arrays(), "f0": np.array([Explosive()], dtype=object)})
    with pytest.raises(FeatureFileError, match="not readable"):
        Features.load(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("where", ["start", "middle"])
def test_damaged_array(tmp_path: Path, where: str) -> None:
    path = tmp_path / "x.npz"
    Features(**arrays(1000)).save(path)
    damaged = bytearray(path.read_bytes())
    data = damaged.index(b"mcep.npy") + 28  # name and extra field: from here on, its compressed stream
    start = data if where == "start" else len(damaged) // 2  # a broken stream, or a wrong checksum
    damaged[start : start + 100] = b"\xff" * 100
    path.write_bytes(damaged)
    with pytest.raises(FeatureFileError, match=r"x\.npz: mcep is not readable"):
        Features.load(path)


def npy(header: str, data: bytes = b"") -> bytes:
    """Return an .npy file with this header."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def header(shape: object, descr: str = "<f4") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}"


def write_npz(path: Path, method: int = zipfile.ZIP_STORED, **changed: bytes) -> None:
    """Write a feature file in which the bytes of some arrays are others."""
    np.savez(path, **arrays())
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries |= {f"{name}.npy": data for name, data in changed.items()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


HEADERS = {
    "10^14": (header((10**14,)), r"f0 is not readable \(it claims \(100000000000000,\) of float32, 4"),
    "overflow": (header((2**62, 2**62)), r"f0 is not readable \(it claims "),
    "negative": (header((-1, -5)), r"f0 is not readable \(it claims \(-1, -5\) of float32, 20 bytes, and holds 20\)"),
    "no-bytes": (header((10**14,), "|V0"), r"f0 is not readable"),
    "dimensions": (header((1,) * 40), r"f0 is not readable"),
    "objects": (header((5,), "|O"), r"f0 is not readable \(it holds Python objects, expected numbers; nothing was run"),
    "nested": ("(" * 5000, r"f0 is not readable"),
}


@pytest.mark.parametrize(("text", "message"), HEADERS.values(), ids=HEADERS.keys())
def test_header_that_claims_what_is_not_there_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write_npz(tmp_path / "x.npz", f0=npy(text, bytes(20)))
    with pytest.raises(FeatureFileError, match=rf"x\.npz: {message}"):
        Features.load(tmp_path / "x.npz")


def test_single_array_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npy(header((10**14,))))
    with pytest.raises(FeatureFileError, match=r"x\.npy: holds a single array, expected an \.npz file"):
        Features.load(tmp_path / "x.npy")


def test_file_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is made smaller for the sake of the test's time."""
    monkeypatch.setattr("sifigan_triton.features.features.MAX_BYTES", 2**20)
    write_npz(tmp_path / "x.npz", zipfile.ZIP_DEFLATED, zeros=bytes(2**20))
    assert (tmp_path / "x.npz").stat().st_size < 2**14
    with pytest.raises(FeatureFileError, match=r"x\.npz: .*unpacks to 1,05., bytes|unpacks to .* at most 1,048,576"):
        Features.load(tmp_path / "x.npz")


def test_directory_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_npz(path)
    data = bytearray(path.read_bytes())
    data[(entry := data.index(b"PK\x01\x02")) + 24 : entry + 28] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(FeatureFileError, match=r"x\.npz: .*unpacks to 2,147,48.* bytes, expected at most 268,435,456"):
        Features.load(path)


def test_no_more_is_unpacked_than_the_directory_says(tmp_path: Path) -> None:
    """A directory of small sizes does not smuggle in large contents."""
    path = tmp_path / "x.npz"
    write_npz(path, zipfile.ZIP_DEFLATED, f0=npy(header((2**24,)), bytes(2**26)))
    data = bytearray(path.read_bytes())
    data[(entry := data.index(b"PK\x01\x02")) + 24 : entry + 28] = (148).to_bytes(4, "little")
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(FeatureFileError, match=r"x\.npz: f0 is not readable"):
        Features.load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_numpy_does_not_write_is_refused(tmp_path: Path, method: int) -> None:
    write_npz(tmp_path / "x.npz", method)
    with pytest.raises(FeatureFileError, match=r"x\.npz: .* is packed in a way that is not read"):
        Features.load(tmp_path / "x.npz")


def test_array_named_twice_is_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("f0.npy", b"")
    with pytest.raises(FeatureFileError, match=r"x\.npz: .*names an entry twice"):
        Features.load(tmp_path / "x.npz")


def test_many_wrong_arrays_are_not_all_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{f"a{index}": np.zeros(1) for index in range(100)})
    with pytest.raises(FeatureFileError, match=r"lacks f0, .*it holds a0, .*a7, \.\.\., expected") as refusal:
        Features.load(tmp_path / "x.npz")
    assert len(str(refusal.value)) < 400


def test_refusal_of_a_pickle_does_not_ask_for_unpickling(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(pickle.dumps(Explosive()))
    with pytest.raises(FeatureFileError) as refusal:
        Features.load(tmp_path / "x.npz")
    assert "pickle" not in str(refusal.value).replace(str(tmp_path), "")

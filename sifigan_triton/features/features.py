"""Acoustic features of one utterance, and the file that holds them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format
from numpy.typing import NDArray

from sifigan_triton.files import atomic_file, bounded_zip

ARRAYS = {"f0": 1, "mcep": 2, "bap": 2}
"""Rank of each feature array."""

SCALARS = {"sample_rate": "iu", "frame_period_ms": "iuf"}
"""NumPy kinds that each scalar of a feature file may have."""


MAX_BYTES = 2**28
"""Most bytes that a feature file unpacks to: two hours of the default voice's features."""

MAX_NAMED = 8
"""Most arrays of a wrong file that a message names."""


class FeatureError(ValueError):
    """Feature arrays do not fit each other."""


class FeatureFileError(FeatureError):
    """A feature file is missing, unreadable or does not hold what is expected."""


@dataclass(frozen=True, eq=False)
class Features:
    """What the vocoder is asked to synthesize: T frames of F0, mel-cepstrum and band aperiodicity."""

    f0: NDArray[np.float32]
    """(T,) float32, fundamental frequency in Hz, 0 where unvoiced."""
    mcep: NDArray[np.float32]
    """(T, order + 1) float32, mel-cepstrum as SPTK defines it; (T, 40) for the default voice."""
    bap: NDArray[np.float32]
    """(T, bands) float32, band aperiodicity in dB as WORLD codes it; (T, 3) at 24 kHz."""
    sample_rate: int
    """Samples a second of the waveform that was analysed, in Hz."""
    frame_period_ms: float
    """Milliseconds from one frame to the next."""

    def __post_init__(self) -> None:
        """Check that the arrays fit each other.

        Raises:
            FeatureError: naming the array, what was expected and what was got.

        """
        for name, rank in ARRAYS.items():
            _check_array(name, getattr(self, name), rank)
        for name in ("mcep", "bap"):
            array = getattr(self, name)
            if len(array) != len(self.f0):
                hint = f": transposed? pass {name}.T" if array.shape[1] == len(self.f0) else ""
                raise FeatureError(f"{name} has {len(array)} frames, expected {len(self.f0)} as f0 has{hint}")
        if self.sample_rate <= 0:
            raise FeatureError(f"sample_rate is {self.sample_rate}, expected a positive number of Hz")
        if not 0.0 < self.frame_period_ms < float("inf"):
            raise FeatureError(f"frame_period_ms is {self.frame_period_ms}, expected a positive number of milliseconds")

    @property
    def frames(self) -> int:
        """Number of frames, T."""
        return len(self.f0)

    @property
    def seconds(self) -> float:
        """Duration of the frames in seconds."""
        return self.frames * self.frame_period_ms / 1000.0

    def save(self, path: Path) -> None:
        """Write a compressed `.npz` file, which appears whole or not at all.

        Args:
            path: the file to write; missing parent folders are made.

        Raises:
            OSError: if the file cannot be written.

        """
        values: dict[str, Any] = {name: getattr(self, name) for name in (*ARRAYS, *SCALARS)}
        with atomic_file(Path(path)) as file:
            np.savez_compressed(file, **values)

    @classmethod
    def load(cls, path: Path) -> Features:
        """Read a file that `save` wrote, or any `.npz` with the same arrays; nothing in it is executed.

        Args:
            path: the `.npz` file.

        Raises:
            FeatureFileError: naming the file and the array, what was expected and what was got.

        """
        path = Path(path)
        values = _read_arrays(path)
        for name, kinds in SCALARS.items():
            value = values[name]
            if value.ndim != 0 or value.dtype.kind not in kinds:
                kind = "an integer" if kinds == "iu" else "a number"
                raise FeatureFileError(
                    f"{path}: {name} has dtype {value.dtype} and shape {value.shape}, expected {kind} of shape ()"
                )
        try:
            return cls(
                f0=values["f0"],
                mcep=values["mcep"],
                bap=values["bap"],
                sample_rate=int(values["sample_rate"]),
                frame_period_ms=float(values["frame_period_ms"]),
            )
        except FeatureError as error:
            raise FeatureFileError(f"{path}: {error}") from None


def _check_array(name: str, array: NDArray[np.generic], rank: int) -> None:
    """Check rank, dtype and size of one feature array."""
    expected = "(T,)" if rank == 1 else "(T, width)"
    if array.ndim != rank or array.size == 0:
        raise FeatureError(f"{name} has shape {array.shape}, expected {expected} with at least one frame")
    if array.dtype != np.float32:
        raise FeatureError(f"{name} is {array.dtype}, expected float32: pass {name}.astype(np.float32)")


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a feature file, without unpickling anything."""
    names = (*ARRAYS, *SCALARS)
    try:
        with path.open("rb") as file:
            start = file.read(len(format.MAGIC_PREFIX))
        if start == format.MAGIC_PREFIX:
            raise FeatureFileError(f"{path}: holds a single array, expected an .npz file with {', '.join(names)}")
        with bounded_zip(path, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), MAX_BYTES) as archive:
            found = [name.removesuffix(".npy") for name in archive.namelist()]
            missing = [name for name in names if name not in found]
            if missing:
                more = ", ..." if len(found) > MAX_NAMED else ""
                raise FeatureFileError(
                    f"{path}: lacks {', '.join(missing)}; it holds {', '.join(found[:MAX_NAMED]) or 'nothing'}{more}, "
                    f"expected {', '.join(names)}"
                )
            return {name: _read_array(archive, name, path) for name in names}
    except FileNotFoundError:
        raise FeatureFileError(f"{path}: no such file") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise FeatureFileError(f"{path}: not readable as an .npz file ({error})") from None


def _read_array(archive: zipfile.ZipFile, name: str, path: Path) -> NDArray[Any]:
    """Read one array of an open archive, whose header must not claim more than the archive's directory."""
    try:
        with archive.open(f"{name}.npy") as file:
            version = format.read_magic(file)  # type: ignore[no-untyped-call]
            if version != (1, 0):
                raise ValueError(f"version {version[0]}.{version[1]} of the format, expected 1.0")
            shape, _, dtype = format.read_array_header_1_0(file)  # type: ignore[no-untyped-call]
            held, claimed = archive.getinfo(f"{name}.npy").file_size - file.tell(), prod(shape) * dtype.itemsize
            if dtype.hasobject:
                raise ValueError("it holds Python objects, expected numbers; nothing was run")
            if claimed != held or min(shape, default=0) < 0:
                raise ValueError(f"it claims {str(shape)[:60]} of {dtype}, {claimed:,} bytes, and holds {held:,}")
            file.seek(0)
            array = format.read_array(file, allow_pickle=False)  # type: ignore[no-untyped-call]
            return np.asarray(array)
    except Exception as error:  # noqa: BLE001 - NumPy reads a header with Python's parser, which fails in many ways
        raise FeatureFileError(f"{path}: {name} is not readable ({str(error)[:200]})") from None

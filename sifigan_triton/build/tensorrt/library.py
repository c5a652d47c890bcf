"""NVIDIA's TensorRT and TensorRT-RTX as Python modules: found, loaded, and asked what they can do."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

MODULES = ("tensorrt", "tensorrt_bindings")
"""The second is all that is needed where the libraries are the system's, as in NVIDIA's container."""
RTX_MODULES = ("tensorrt_rtx", "tensorrt_rtx_bindings")
RTX_LIBRARIES = ("libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1")
"""What the bindings link to, in the order in which they need each other."""
OLDEST = (8, 6)


class TensorRTError(RuntimeError):
    """TensorRT is missing, or it refuses a graph."""


def load_tensorrt() -> Any:
    """Import TensorRT.

    Raises:
        TensorRTError: if it is not installed, cannot be loaded or is too old, with the fix.

    """
    found = [name for name in MODULES if importlib.util.find_spec(name) is not None]
    if not found:
        raise TensorRTError(
            "TensorRT is missing: this Python has no package `tensorrt`. Install the version of the server that will "
            "run the plan (`pip install tensorrt-cu12==10.5.0` for Triton 24.10), or build inside the container. "
            "Without an NVIDIA GPU, --check-tensorrt tries the graph with TensorRT-RTX"
        )
    trt = _import(found[0])
    if version(trt)[:2] < OLDEST:
        raise TensorRTError(
            f"TensorRT {trt.__version__} is too old, expected {'.'.join(map(str, OLDEST))} or newer: "
            "`pip install tensorrt-cu12==10.5.0`"
        )
    return trt


def load_tensorrt_rtx() -> Any:
    """Import TensorRT-RTX, whose builder needs no GPU; no environment variable is needed.

    Raises:
        TensorRTError: if it is not installed or cannot be loaded, with the fix.

    """
    for name in RTX_MODULES:
        if importlib.util.find_spec(name) is not None:
            _preload_rtx()
            return _import(name)
    raise TensorRTError(
        f"TensorRT-RTX is missing: this Python has none of the packages {' and '.join(RTX_MODULES)}. "
        "`pip install tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs` (about 95 MB)"
    )


def is_rtx(trt: Any) -> bool:
    """Tell whether a module is TensorRT-RTX, which builds for named GPUs without one and times no kernels."""
    return str(trt.__name__).startswith("tensorrt_rtx")


def version(trt: Any) -> tuple[int, ...]:
    """Return a module's version as numbers: (10, 5, 0)."""
    return tuple(int(number) for number in re.findall(r"\d+", str(trt.__version__))[:3])


def strongly_typed(trt: Any) -> bool:
    """Tell whether a network keeps the types of its ONNX file: on request since TensorRT 9, always in 11 and RTX."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def network_flags(trt: Any) -> int:
    """Return the flags for `create_network`.

    TensorRT 8.6 needs EXPLICIT_BATCH, 10 ignores it, 11 no longer has it. STRONGLY_TYPED came with 9 and is the only
    mode of 11 and of TensorRT-RTX, which keep the name.
    """
    known = trt.NetworkDefinitionCreationFlag
    names = [name for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED") if hasattr(known, name)]
    if version(trt)[0] >= 10 and "EXPLICIT_BATCH" in names:
        names.remove("EXPLICIT_BATCH")
    return sum(1 << int(getattr(known, name)) for name in names)


def _preload_rtx() -> None:
    """Load the libraries of the wheel, so that the bindings find them whatever LD_LIBRARY_PATH says."""
    spec = importlib.util.find_spec("tensorrt_rtx_libs")
    for folder in map(Path, spec.submodule_search_locations or () if spec else ()):
        for name in RTX_LIBRARIES:
            if (folder / name).exists():
                _load(folder / name)


def _load(path: Path) -> None:
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        raise TensorRTError(f"{path} cannot be loaded: {error}") from None


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise TensorRTError(f"the package {name} is installed but cannot be loaded: {error}") from None

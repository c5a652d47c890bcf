"""Does a TensorRT plan fit this machine? The manifest beside a plan compared with the machine, in plain words.

A plan is bound to the TensorRT version and the GPU it was built with. This file needs the standard library only (Python
3.10 or newer), so that it runs in a serving container without anything installed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LIBRARIES = {
    "tensorrt": ("tensorrt_libs", ("libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8", "libnvinfer.so")),
    "tensorrt_rtx": ("tensorrt_rtx_libs", ("libtensorrt_rtx.so.1", "libtensorrt_rtx.so")),
}
"""By the name of the Python module: the wheel's folder of libraries, and the library's names, newest first."""


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver names it."""

    name: str
    compute_capability: str
    """Such as "9.0"."""


@dataclass(frozen=True)
class Machine:
    """What decides whether a plan runs here."""

    gpus: tuple[Gpu, ...]
    """GPUs that programs see; empty without a driver."""
    versions: Mapping[str, str]
    """Version of each of the `LIBRARIES` that can be loaded, such as {"tensorrt": "10.5.0"}."""


def problems(manifest: Mapping[str, Any], machine: Machine) -> list[str]:
    """Return why a plan cannot run on a machine, each with the fix; empty if it can, or if it is no plan's manifest."""
    if "tensorrt_version" not in manifest:
        return []
    library, built = str(manifest.get("tensorrt_library", "tensorrt")), str(manifest["tensorrt_version"])
    rebuild = f"rebuild with `sifigan-triton build --engine {manifest.get('engine', 'trt-fp16')}` on this machine"
    found = []
    here = machine.versions.get(library)
    if here is None:
        names = " or ".join(LIBRARIES.get(library, LIBRARIES["tensorrt"])[1])
        found.append(f"plan needs {library} {built}, this machine has none ({names} cannot be loaded): install it")
    elif _numbers(here) != _numbers(built):
        found.append(f"plan was built with {library} {built}, this machine has {here}: {rebuild}")
    if not machine.gpus:
        found.append("plan needs an NVIDIA GPU, nvidia-smi shows none: start with the GPU (docker: `--gpus all`)")
    capability = str(manifest.get("compute_capability", ""))
    for index, gpu in enumerate(machine.gpus):
        if gpu.compute_capability != capability:
            found.append(
                f"plan was built for compute capability {capability} ({manifest.get('gpu_name')}), GPU {index} of this "
                f"machine has {gpu.compute_capability} ({gpu.name}): {rebuild}, or hide that GPU (CUDA_VISIBLE_DEVICES)"
            )
    return found


def notes(manifest: Mapping[str, Any], machine: Machine) -> list[str]:
    """Return what does not keep a plan from running, but may cost speed: another GPU of the same capability."""
    built = manifest.get("gpu_name")
    others = [gpu.name for gpu in machine.gpus if gpu.name != built]
    if "tensorrt_version" not in manifest or not others or problems(manifest, machine):
        return []
    return [f"plan was tuned on {built}, this machine has {', '.join(others)}: it runs, a rebuild here may be faster"]


def read_machine() -> Machine:
    """Look at this machine: its GPUs through nvidia-smi, its TensorRT through the library's own version functions."""
    versions = {library: _library_version(*where) for library, where in LIBRARIES.items()}
    return Machine(read_gpus(), {library: version for library, version in versions.items() if version is not None})


def read_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that programs see, in the driver's order."""
    query = ["nvidia-smi", "--query-gpu=index,uuid,name,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.count(",") == 3]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        wanted = [part.strip() for part in visible.split(",")]
        rows = [row for row in rows if row[0] in wanted or any(len(w) > 4 and row[1].startswith(w) for w in wanted)]
    return tuple(Gpu(row[2], row[3]) for row in rows)


def _library_version(package: str, names: tuple[str, ...]) -> str | None:
    """Load a library, the wheel's or the system's, and ask for its version."""
    spec = importlib.util.find_spec(package)
    folders = [f"{folder}/" for folder in (spec.submodule_search_locations or ())] if spec else []
    for path in (prefix + name for prefix in (*folders, "") for name in names):
        try:
            return library_version(ctypes.CDLL(path))
        except (OSError, AttributeError):
            continue
    return None


def library_version(library: Any) -> str:
    """Return the version that a loaded TensorRT library tells; before TensorRT 10 as one number, 8601 for 8.6.1."""
    try:
        parts = [int(getattr(library, f"getInferLib{part}Version")()) for part in ("Major", "Minor", "Patch")]
    except AttributeError:
        number = int(library.getInferLibVersion())
        parts = [number // 1000, number // 100 % 10, number % 100]
    return ".".join(map(str, parts))


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]

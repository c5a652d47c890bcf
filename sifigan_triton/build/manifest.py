"""The manifest beside every engine: what it was made from, so that it is made anew exactly when something changed."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from preprocess import Settings
from sifigan_triton.build.code_hash import code_hash
from sifigan_triton.build.options import BuildOptions, cpu_has_bf16
from sifigan_triton.files import file_hash, write_file
from sifigan_triton.network import export
from sifigan_triton.repository.engine_kinds import EngineKind, Runtime
from sifigan_triton.repository.servable import MANIFEST_FILE, read_manifest
from sifigan_triton.voice.folder import voice_hash

LIBRARIES: dict[Runtime, tuple[str, ...]] = {
    "openvino": ("onnx", "openvino"),
    "onnx": ("onnx", "onnxruntime"),
    "pt": (),
    "trt": ("onnx",),
}
"""Modules that export and run the engines of a runtime, torch aside; a plan names its TensorRT itself."""

Manifest = dict[str, Any]


def made_from(options: BuildOptions, settings: Settings, kind: EngineKind) -> Manifest:
    """Return all that determines an engine's file and whether it may be published.

    Args:
        options: the voice's folder, and how engines are judged.
        settings: constants of the voice and of the static engines.
        kind: the engine.

    """
    keep = options.keep_fp32 if kind.precision == "fp16" else ()
    made: Manifest = {
        "engine": kind.name,
        "voice": settings.voice.name,
        "voice_sha256": voice_hash(options.voice),
        "code_sha256": code_hash(),
        "versions": _versions(kind.runtime),
        "opset": export.OPSET,
        "bounds": options.bounds_of(kind).as_dict(),
        "keep_fp32": keep if isinstance(keep, str) else sorted(keep),
    }
    if kind.precision != "fp32":
        made |= {"gate_data": [file_hash(path) for path in options.gate_data]}
    if kind.precision == "bf16":
        made |= {"judged_in": "bf16" if cpu_has_bf16(Path("/proc/cpuinfo").read_text(encoding="utf-8")) else "fp32"}
    if kind.static:
        made |= {"window": settings.window, "halo": settings.halo, "f0_floor": settings.f0_floor}
    if kind.runtime == "trt":
        made |= {"max_batch_size": settings.max_batch_size}
    return made


def _versions(runtime: Runtime) -> dict[str, str]:
    """Return the versions of what exports, runs and judges the engines of a runtime."""
    return {name: str(import_module(name).__version__) for name in ("torch", "numpy", *LIBRARIES[runtime])}


def write_manifest(folder: Path, kind: EngineKind, made: Manifest, facts: Manifest) -> None:
    """Write the manifest of an engine's version folder: what it was made from, hashes, and facts about it."""
    smaller = {str(path.relative_to(folder)): file_hash(path) for path in sorted(folder.glob(f"*/{kind.file}"))}
    manifest = {**made, "engine_sha256": file_hash(folder / kind.file), "smaller_windows": smaller, **facts}
    write_file(folder / MANIFEST_FILE, (json.dumps(manifest, indent=2) + "\n").encode())


def up_to_date(folder: Path, kind: EngineKind, made: Manifest) -> bool:
    """Tell whether a version folder holds the very file that a build from `made` published there.

    The file's own hash is compared too: a build that was killed between two files may have left the manifest of one
    engine beside another engine.
    """
    published = read_manifest(folder)
    if any(published.get(key) != value for key, value in made.items()):
        return False
    try:
        files = {kind.file: published.get("engine_sha256"), **published["smaller_windows"]}
        return all(file_hash(folder / name) == sha256 for name, sha256 in files.items())
    except (OSError, KeyError, TypeError):  # there is none, or it is of an earlier build
        return False

"""The manifest beside every engine: what it was made from, so that it is made anew exactly when something changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from preprocess import Settings, f0
from sifigan_triton import engine, export, generator, halo, indexing, precision
from sifigan_triton.engines import EngineKind
from sifigan_triton.voices import voice_hash

MANIFEST_FILE = "manifest.json"

Manifest = dict[str, Any]


def made_from(
    voice_folder: Path,
    settings: Settings,
    kind: EngineKind,
    keep_fp32: tuple[str, ...] | str,
    bounds: Mapping[str, float],
) -> Manifest:
    """Return all that determines an engine's file and whether it may be published.

    Args:
        voice_folder: the voice.
        settings: constants of the voice and of the static engines.
        kind: the engine.
        keep_fp32: groups of layers to keep in FP32 as they were asked for, "auto" included.
        bounds: bounds of the quality gate.

    """
    digest = hashlib.sha256()
    for module in (f0, generator, indexing, precision, halo, engine, export):
        digest.update(Path(str(module.__file__)).read_bytes())
    made: Manifest = {
        "engine": kind.name,
        "voice": settings.voice.name,
        "voice_sha256": voice_hash(voice_folder),
        "code_sha256": digest.hexdigest(),
        "torch": str(torch.__version__),
        "opset": export.OPSET,
        "bounds": dict(bounds),
        "keep_fp32": keep_fp32 if isinstance(keep_fp32, str) else list(keep_fp32),
    }
    if kind.static:
        made |= {"window": settings.window, "halo": settings.halo, "f0_floor": settings.f0_floor}
    if kind.runtime == "trt":
        made |= {"max_batch_size": settings.max_batch_size}
    return made


def write_manifest(folder: Path, kind: EngineKind, made: Manifest, facts: Manifest) -> None:
    """Write the manifest of an engine's version folder: what it was made from, its hash, and facts about it."""
    manifest = {**made, "engine_sha256": file_hash(folder / kind.file), **facts}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a version folder; empty if there is none that can be read."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def up_to_date(folder: Path, kind: EngineKind, made: Manifest) -> bool:
    """Tell whether a version folder holds the very file that a build from `made` published there.

    The file's own hash is compared too: a build that was killed between two files may have left the manifest of one
    engine beside another engine.
    """
    published = read_manifest(folder)
    if any(published.get(key) != value for key, value in made.items()):
        return False
    try:
        return bool(published.get("engine_sha256") == file_hash(folder / kind.file))
    except OSError:
        return False


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""A voice -> engines -> a deployable Triton model repository."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from preprocess import Settings, f0
from sifigan_triton import engine, export, generator, halo, indexing
from sifigan_triton.arithmetic import format_plan
from sifigan_triton.generator import Generator
from sifigan_triton.halo import CropPlan, crop_plan
from sifigan_triton.repository import ENGINES, EngineKind, render_configs
from sifigan_triton.staging import VERSION, publish, stage_model, stage_packages, staging_folder
from sifigan_triton.voices import VOICE_FILE, load_voice, voice_hash

logger = logging.getLogger(__name__)

ENGINE_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
ONNX_BOUND_DB = 100.0
"""Least SNR of the exported FP32 engine against the full-length generator."""

Report = Callable[[str], None]
Manifest = dict[str, str | int | float]


class BuildError(RuntimeError):
    """A build was asked for something that cannot be built."""


@dataclass(frozen=True)
class BuildOptions:
    """What to build."""

    voice: Path
    output: Path
    engines: tuple[EngineKind, ...] = field(default_factory=lambda: auto_engines())
    default_engine: EngineKind | None = None
    """Engine behind the ensemble `sifigan`; None is the last of `engines`."""
    window: int = 512
    f0_floor: float = 70.0
    max_batch_size: int = 128

    @property
    def default(self) -> EngineKind:
        """Engine behind the ensemble `sifigan`."""
        return self.default_engine or self.engines[-1]


def auto_engines() -> tuple[EngineKind, ...]:
    """Return the engines for this machine: FP32, and BF16 behind the ensemble where the CPU computes in BF16."""
    kinds = [ENGINES["openvino-fp32"]]
    if cpu_has_bf16(Path("/proc/cpuinfo").read_text(encoding="utf-8")):
        kinds.append(ENGINES["openvino-bf16"])
    return tuple(kinds)


def cpu_has_bf16(cpuinfo: str) -> bool:
    """Tell from the text of `/proc/cpuinfo` whether the CPU multiplies in BF16 (AMX or AVX512-BF16)."""
    return bool({"amx_bf16", "avx512_bf16"} & set(cpuinfo.split()))


def build(options: BuildOptions, report: Report = logger.info) -> list[Path]:
    """Build the engines and write the model repository; what is already there and up to date is not built again.

    Args:
        options: what to build.
        report: called with each line of progress.

    Returns:
        The files that were written.

    Raises:
        VoiceError: if the voice cannot be read.
        BuildError: if the default engine is not among the engines, or the batch limit is not positive.
        ExportError: if the exported engine differs from the generator; the previous engine stays in place.

    """
    if options.default not in options.engines:
        raise BuildError(
            f"default engine {options.default.name} is not built, expected one of "
            f"{[kind.name for kind in options.engines]}: add --engine {options.default.name}"
        )
    if options.max_batch_size < 1:
        raise BuildError(f"--max-batch is {options.max_batch_size}, expected at least 1")
    voice, model = load_voice(options.voice)
    plan = crop_plan(voice, options.window, options.f0_floor)
    settings = Settings(voice, plan.window, plan.halo, plan.f0_floor, options.max_batch_size)
    report(format_plan(voice, plan))
    manifest = _manifest(options, settings)
    with staging_folder(options.output) as staging:
        _stage_engines(options, manifest, model, settings, plan, staging, report)
        configs = render_configs(settings, list(options.engines), options.default)
        for kind in options.engines:
            stage_model(staging, kind.model, configs[kind.model], kind.adapter)
        stage_model(staging, "sifigan", configs["sifigan"], None)
        versions = [
            stage_model(staging, name, configs[name], f"{name}_model.py") for name in ("preprocess", "postprocess")
        ]
        stage_packages(versions[0], versions[1])
        (versions[0] / VOICE_FILE).write_text(voice.to_json(), encoding="utf-8")
        published = publish(staging, options.output)
    report(f"{options.output}: {len(published)} files written, ensemble sifigan runs {options.default.model}")
    _warn_of_others(options.output, manifest)
    return published


def _stage_engines(
    options: BuildOptions,
    manifest: Manifest,
    model: Generator,
    settings: Settings,
    plan: CropPlan,
    staging: Path,
    report: Report,
) -> None:
    """Export the engine once and stage it for every kind whose published one is missing or out of date."""
    stale = [kind for kind in options.engines if not _up_to_date(options.output, kind, manifest)]
    for kind in options.engines:
        if kind not in stale:
            report(f"{kind.model}: up to date")
    if not stale:
        return
    onnx_file = staging / ENGINE_FILE
    started = time.monotonic()
    report("exporting the narrowing engine to ONNX ...")
    export.export_onnx(model, settings, plan, onnx_file)
    report(f"exported in {time.monotonic() - started:.0f} s; comparing it with the full-length generator ...")
    snr = export.check_onnx(onnx_file, model, settings, ONNX_BOUND_DB)
    report(f"ONNX engine against the full-length generator: {snr:.1f} dB (bound {ONNX_BOUND_DB:g} dB)")
    text = json.dumps({**manifest, "engine_sha256": _sha256(onnx_file)}, indent=2) + "\n"
    for kind in stale:
        version = staging / kind.model / VERSION
        version.mkdir(parents=True)
        shutil.copyfile(onnx_file, version / ENGINE_FILE)
        (version / MANIFEST_FILE).write_text(text, encoding="utf-8")
    onnx_file.unlink()


def _manifest(options: BuildOptions, settings: Settings) -> Manifest:
    """Return all that determines the exported engine."""
    digest = hashlib.sha256()
    for module in (f0, generator, indexing, halo, engine, export):
        digest.update(Path(str(module.__file__)).read_bytes())
    return {
        "voice": settings.voice.name,
        "voice_sha256": voice_hash(options.voice),
        "window": settings.window,
        "halo": settings.halo,
        "f0_floor": settings.f0_floor,
        "code_sha256": digest.hexdigest(),
        "torch": str(torch.__version__),
        "opset": export.OPSET,
    }


def _up_to_date(output: Path, kind: EngineKind, manifest: Manifest) -> bool:
    """Tell whether the published engine is the very file that a build of this manifest published.

    The file's own hash is compared too: a build that was killed between two files may have left the manifest of one
    engine beside another engine.
    """
    version = output / kind.model / VERSION
    try:
        published = json.loads((version / MANIFEST_FILE).read_text(encoding="utf-8"))
        return bool(published == {**manifest, "engine_sha256": _sha256(version / ENGINE_FILE)})
    except (OSError, ValueError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _warn_of_others(output: Path, manifest: Manifest) -> None:
    """Point out engines of the repository that this build leaves unusable: not built, or of another voice or shape."""
    for config in sorted(output.glob("sifigan-*/config.pbtxt")):
        model, version = config.parent.name, config.parent / VERSION
        fix = f"build it with --engine {model.removeprefix('sifigan-')} or remove {config.parent}"
        if not (version / ENGINE_FILE).is_file():
            logger.warning(
                "%s has a config.pbtxt but no engine; a plain tritonserver will not start on this repository "
                "(`sifigan-triton serve` leaves the model out): %s",
                model,
                fix,
            )
            continue
        published = json.loads((version / MANIFEST_FILE).read_text(encoding="utf-8"))
        different = [key for key in ("voice_sha256", "window", "f0_floor") if published.get(key) != manifest[key]]
        if different:
            logger.warning("%s is of an earlier build with another %s: %s", model, " and ".join(different), fix)

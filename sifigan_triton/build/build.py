"""A voice -> engines -> a deployable Triton model repository."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from preprocess import Settings
from sifigan_triton.build.engine_builder import EngineBuilder, GateError
from sifigan_triton.build.engine_maker import EngineMaker
from sifigan_triton.build.manifest import Manifest, made_from, read_manifest, up_to_date, write_manifest
from sifigan_triton.build.options import BuildError, BuildOptions
from sifigan_triton.build.tensorrt.manifest import problems, read_machine
from sifigan_triton.network.crop_plan import CropPlan, crop_plan
from sifigan_triton.network.generator import Generator
from sifigan_triton.network.precision import check_groups
from sifigan_triton.network.stage_costs import format_plan
from sifigan_triton.repository.engine_kinds import ENGINES, EngineKind
from sifigan_triton.repository.model_plan import plan_models
from sifigan_triton.repository.staging import VERSION, publish, stage_model, staging_folder
from sifigan_triton.voice.folder import load_voice, voice_hash

__all__ = ["BuildError", "BuildOptions", "GateError", "build"]

logger = logging.getLogger(__name__)

Report = Callable[[str], None]


def build(options: BuildOptions, report: Report = logger.info) -> list[Path]:
    """Build the engines and write the model repository; what is already there and up to date is not built again.

    Args:
        options: what to build.
        report: called with each line of progress.

    Returns:
        The files that were written.

    Raises:
        VoiceError: if the voice cannot be read.
        BuildError: if the options contradict each other; TensorRTError, if a plan cannot be built here.
        GateError: if an engine fails the quality gate. Nothing is published then.

    """
    options.check()
    voice, model = load_voice(options.voice)
    if not isinstance(options.keep_fp32, str):
        check_groups(model, options.keep_fp32)
    plan = crop_plan(voice, options.window, options.f0_floor)
    settings = Settings(voice, plan.window, plan.halo, plan.f0_floor, options.max_batch_size)
    report(format_plan(voice, plan))
    with staging_folder(options.output) as staging:
        _stage_engines(options, model, settings, plan, staging, report)
        _stage_models(options, settings, staging)
        published = publish(staging, options.output)
    report(f"{options.output}: {len(published)} files written, ensemble sifigan runs {options.default.model}")
    _warn_of_others(options, settings)
    return published


def _stage_engines(
    options: BuildOptions, model: Generator, settings: Settings, plan: CropPlan, staging: Path, report: Report
) -> None:
    """Make and judge every engine whose published one is missing or out of date."""
    scratch = staging / ".graphs"
    scratch.mkdir()
    timing_cache = staging.parent / ".tensorrt-timing.cache"
    builder = EngineBuilder(options, EngineMaker(model, settings, plan, scratch, report, timing_cache), report)
    for kind in options.engines:
        made, published = _made_from(options, settings, kind), options.output / kind.model / VERSION
        fits = kind.runtime != "trt" or not problems(read_manifest(published), read_machine())
        if fits and up_to_date(published, kind, made):
            report(f"{kind.model}: up to date")
            continue
        folder = staging / kind.model / VERSION
        facts = builder.build(kind, folder)
        write_manifest(folder, kind, made, facts)
    shutil.rmtree(scratch)


def _made_from(options: BuildOptions, settings: Settings, kind: EngineKind) -> Manifest:
    keep = options.keep_fp32 if kind.precision == "fp16" else ()
    return made_from(options.voice, settings, kind, keep, options.bounds_of(kind), options.gate_data)


def _stage_models(options: BuildOptions, settings: Settings, staging: Path) -> None:
    """Make every model folder but for the engines' own files."""
    voice_sha256 = voice_hash(options.voice)
    for plan in plan_models(settings, voice_sha256, options.engines, options.default, options.platform):
        stage_model(staging, plan)


def _warn_of_others(options: BuildOptions, settings: Settings) -> None:
    """Point out engines of the repository that this build leaves unusable: not built, or of another voice or shape."""
    for kind in ENGINES.values():
        folder = options.output / kind.model
        if kind in options.engines or not (folder / "config.pbtxt").is_file():
            continue
        fix = f"build it with --engine {kind.name} or remove {folder}"
        if not (folder / VERSION / kind.file).is_file():
            logger.warning(
                "%s has a config.pbtxt but no engine; a plain tritonserver will not start on this repository "
                "(`sifigan-triton serve` leaves the model out): %s",
                kind.model,
                fix,
            )
            continue
        made, published = _made_from(options, settings, kind), read_manifest(folder / VERSION)
        keys = [key for key in ("voice_sha256", "window", "f0_floor", "max_batch_size") if key in made]
        different = [key for key in keys if published.get(key) != made[key]]
        if different:
            logger.warning("%s is of an earlier build with another %s: %s", kind.model, " and ".join(different), fix)

"""A voice -> engines -> a deployable Triton model repository."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from preprocess import Settings
from sifigan_triton.build.engine_builder import TIMING_CACHE, EngineBuilder, EngineMaker, GateError
from sifigan_triton.build.manifest import made_from, up_to_date, write_manifest
from sifigan_triton.build.options import BuildError, BuildOptions
from sifigan_triton.files import DiskFullError
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.precision import check_groups
from sifigan_triton.network.stage_costs import format_plan
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.model_plan import plan_models
from sifigan_triton.repository.servable import VERSION, read_manifest
from sifigan_triton.repository.staging import publish, stage_model, staging_folder
from sifigan_triton.repository.tensorrt_plan import problems, read_machine
from sifigan_triton.repository.voice_names import MAIN, of_voice
from sifigan_triton.voice.folder import load_voice, voice_hash

__all__ = ["BuildError", "BuildOptions", "GateError", "build"]

logger = logging.getLogger(__name__)


def build(options: BuildOptions) -> list[Path]:
    """Build the engines and write the model repository; what is already there and up to date is not built again.

    Args:
        options: what to build.

    Returns:
        The files that were written.

    Raises:
        VoiceError: if the voice cannot be read.
        BuildError: if the options contradict each other, or the disk is full; TensorRTError, if a plan cannot be built
            here.
        GateError: if an engine fails the quality gate.
        OSError: if a file cannot be written. Nothing is published then, nor after the other errors.

    """
    options.check()
    spec = EngineSpec(*load_voice(options.voice), options.window, options.f0_floor, options.max_batch_size)
    if not isinstance(options.keep_fp32, str):
        check_groups(spec.generator, options.keep_fp32)
    settings = spec.settings
    logger.debug("%s", format_plan(spec.voice, spec.plan))
    try:
        with staging_folder(options.output) as staging:
            _stage_engines(options, spec, staging)
            _stage_models(options, settings, staging)
            published = publish(staging, options.output)
    except DiskFullError as error:
        raise BuildError(f"{options.output}: nothing is published, what was there stays: {error}") from None
    written = f"{options.output}: {len(published)} files written"
    logger.info("%s, ensemble %s runs %s", written, of_voice(MAIN, options.name), options.folder(options.default))
    _warn_of_others(options, settings)
    return published


def _stage_engines(options: BuildOptions, spec: EngineSpec, staging: Path) -> None:
    """Make and judge every engine whose published one is missing or out of date."""
    scratch = staging / ".graphs"
    scratch.mkdir()
    builder = EngineBuilder(options, EngineMaker(spec, scratch, staging.parent / TIMING_CACHE))
    for kind in options.engines:
        made, published = made_from(options, spec.settings, kind), options.output / options.folder(kind) / VERSION
        fits = kind.runtime != "trt" or not problems(read_manifest(published), read_machine())
        if fits and up_to_date(published, kind, made):
            logger.info("%s: up to date", options.folder(kind))
            continue
        folder = staging / options.folder(kind) / VERSION
        facts = builder.build(kind, folder)
        write_manifest(folder, kind, made, facts)
    shutil.rmtree(scratch)


def _stage_models(options: BuildOptions, settings: Settings, staging: Path) -> None:
    """Make every model folder but for the engines' own files."""
    voice_sha256 = voice_hash(options.voice)
    for plan in plan_models(settings, voice_sha256, options.engines, options.default, options.platform, options.name):
        stage_model(staging, plan)


def _warn_of_others(options: BuildOptions, settings: Settings) -> None:
    """Point out engines of the repository that this build leaves unusable: not built, or of another voice or shape."""
    for kind in ENGINES.values():
        folder = options.output / options.folder(kind)
        if kind in options.engines or not (folder / "config.pbtxt").is_file():
            continue
        fix = f"build it with --engine {kind.name} or remove {folder}"
        if not (folder / VERSION / kind.file).is_file():
            logger.warning(
                "%s has a config.pbtxt but no engine; a plain tritonserver will not start on this repository "
                "(`sifigan-triton serve` leaves the model out): %s",
                folder.name,
                fix,
            )
            continue
        made, published = made_from(options, settings, kind), read_manifest(folder / VERSION)
        keys = [key for key in ("voice_sha256", "window", "f0_floor", "max_batch_size") if key in made]
        different = [key for key in keys if published.get(key) != made[key]]
        if different:
            logger.warning("%s is of an earlier build with another %s: %s", folder.name, " and ".join(different), fix)

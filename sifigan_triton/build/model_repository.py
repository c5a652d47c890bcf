"""A voice -> engines -> a deployable Triton model repository."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import postprocess
import preprocess
from preprocess import Settings
from sifigan_triton.build.engine_builder import TIMING_CACHE, EngineBuilder, EngineMaker, GateError
from sifigan_triton.build.manifest import made_from, up_to_date, write_manifest
from sifigan_triton.build.options import BuildError, BuildOptions
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.precision import check_groups
from sifigan_triton.network.stage_costs import format_plan
from sifigan_triton.repository.configs import render_configs
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.runtimes import runtime_file
from sifigan_triton.repository.servable import MANIFEST_FILE, read_manifest
from sifigan_triton.repository.staging import (
    VERSION,
    publish,
    stage_ensemble,
    stage_model,
    stage_package,
    staging_folder,
)
from sifigan_triton.repository.tensorrt_plan import problems, read_machine
from sifigan_triton.voice.folder import VOICE_FILE, load_voice, voice_hash

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
        BuildError: if the options contradict each other; TensorRTError, if a plan cannot be built here.
        GateError: if an engine fails the quality gate. Nothing is published then.

    """
    options.check()
    spec = EngineSpec(*load_voice(options.voice), options.window, options.f0_floor, options.max_batch_size)
    if not isinstance(options.keep_fp32, str):
        check_groups(spec.generator, options.keep_fp32)
    settings = spec.settings
    logger.debug("%s", format_plan(spec.voice, spec.plan))
    with staging_folder(options.output) as staging:
        _stage_engines(options, spec, staging)
        _stage_models(options, settings, staging)
        published = publish(staging, options.output)
    logger.info("%s: %d files written, ensemble sifigan runs %s", options.output, len(published), options.default.model)
    _warn_of_others(options, settings)
    return published


def _stage_engines(options: BuildOptions, spec: EngineSpec, staging: Path) -> None:
    """Make and judge every engine whose published one is missing or out of date."""
    scratch = staging / ".graphs"
    scratch.mkdir()
    builder = EngineBuilder(options, EngineMaker(spec, scratch, staging.parent / TIMING_CACHE))
    for kind in options.engines:
        made, published = made_from(options, spec.settings, kind), options.output / kind.model / VERSION
        fits = kind.runtime != "trt" or not problems(read_manifest(published), read_machine())
        if fits and up_to_date(published, kind, made):
            logger.info("%s: up to date", kind.model)
            continue
        folder = staging / kind.model / VERSION
        facts = builder.build(kind, folder)
        write_manifest(folder, kind, made, facts)
    shutil.rmtree(scratch)


def _stage_models(options: BuildOptions, settings: Settings, staging: Path) -> None:
    """Make every model folder but for the engines' own files."""
    configs = render_configs(settings, options.engines, options.default, options.platform)
    for name, config in configs.items():
        engine = next((kind for kind in options.engines if kind.model == name), None)
        if name.startswith("preprocess"):
            adapter = "preprocess_tensors_model.py" if name == "preprocess-tensors" else "preprocess_model.py"
            version = stage_model(staging, name, config, adapter)
            stage_package(version, preprocess)
            (version / VOICE_FILE).write_text(settings.voice.to_json(), encoding="utf-8")
            facts: dict[str, object] = {"voice": settings.voice.name, "voice_sha256": voice_hash(options.voice)}
            if name != "preprocess-dynamic" and (name == "preprocess" or options.default.static):
                facts |= {"window": settings.window, "halo": settings.halo, "f0_floor": settings.f0_floor}
            (version / MANIFEST_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        elif name == "postprocess":
            stage_package(stage_model(staging, name, config, "postprocess_model.py"), postprocess)
        elif engine is None:
            stage_ensemble(staging, name, config)
        elif options.platform == "wheel":
            version = stage_model(staging, name, config, "engine_model.py")
            shutil.copyfile(runtime_file(engine.runtime), version / "runtime.py")
        else:
            stage_model(staging, name, config, None)


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
        made, published = made_from(options, settings, kind), read_manifest(folder / VERSION)
        keys = [key for key in ("voice_sha256", "window", "f0_floor", "max_batch_size") if key in made]
        different = [key for key in keys if published.get(key) != made[key]]
        if different:
            logger.warning("%s is of an earlier build with another %s: %s", kind.model, " and ".join(different), fix)

"""The models of a repository: for each, one plan that says all that its folder holds, but for an engine's own file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

import postprocess
import preprocess
from preprocess.settings import Settings
from preprocess.voice import VOICE_FILE
from sifigan_triton.repository.engine_config import engine_config
from sifigan_triton.repository.engine_kinds import EngineKind, Platform
from sifigan_triton.repository.ensemble_config import (
    ENSEMBLE,
    ensemble_config,
    first_step_config,
    last_step_config,
    older_ensemble_config,
    older_first_step_config,
)
from sifigan_triton.repository.runtimes import SIZED_ENGINE, runtime_file
from sifigan_triton.repository.servable import MANIFEST_FILE
from sifigan_triton.repository.voice_names import of_voice

HEADER = "# Rendered by sifigan-triton build: change sifigan_triton/repository/*_config.py, not this file.\n"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class ModelPlan:
    """What the folder of one Triton model holds."""

    config: pb.ModelConfig
    adapter: str | None = None
    """File in `adapters/` that becomes its `model.py`; None for a model of another backend than Python's. The files
    there that are no models come with it."""
    packages: tuple[ModuleType, ...] = ()
    """Pure packages that the adapter uses: a model folder must work alone."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Text of further files of its version folder, by name."""

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.config.name)

    @property
    def config_text(self) -> str:
        """Text of its `config.pbtxt`."""
        return HEADER + str(text_format.MessageToString(self.config, use_short_repeated_primitives=True))


def plan_models(
    settings: Settings,
    voice_sha256: str,
    engines: Sequence[EngineKind],
    default: EngineKind,
    platform: Platform = "wheel",
    name: str = "",
) -> list[ModelPlan]:
    """Plan every model of a voice in a repository.

    Args:
        settings: constants of the voice and of the static engines.
        voice_sha256: hash of the voice's constants and weights.
        engines: the engines to serve.
        default: the engine behind the ensembles `sifigan` and `sifigan-tensors`.
        platform: what serves them.
        name: the voice's name among several of the repository (`voice_names.py`).

    """
    plans = [
        ModelPlan(last_step_config(settings), "postprocess_model.py", (postprocess,)),
        _ensemble(ensemble_config(settings, ENSEMBLE, default, platform)),
        _ensemble(older_ensemble_config(settings, default, platform)),
        _first_step(older_first_step_config(settings, default), settings, voice_sha256, default),
    ]
    first_steps = {kind.first_step: kind for kind in engines}
    plans += [
        _first_step(first_step_config(settings, kind), settings, voice_sha256, kind) for kind in first_steps.values()
    ]
    plans += [_ensemble(ensemble_config(settings, kind.ensemble, kind, platform)) for kind in engines]
    plans += [_engine(settings, kind, platform) for kind in engines]
    for plan in plans:
        _name_after(name, plan.config)
    return plans


def made_for(settings: Settings, voice_sha256: str, static: bool) -> Manifest:
    """Return which voice and window a step is made for: an engine and the step before it have to agree on that."""
    voice: Manifest = {"voice": settings.voice.name, "voice_sha256": voice_sha256}
    window = {"window": settings.window, "halo": settings.halo, "f0_floor": settings.f0_floor}
    return voice | window if static else voice


def _name_after(voice: str, config: pb.ModelConfig) -> None:
    """Give a model, and the steps of an ensemble, the names that they have with this voice."""
    config.name = of_voice(config.name, voice)
    for step in config.ensemble_scheduling.step:
        step.model_name = of_voice(step.model_name, voice)


def _first_step(config: pb.ModelConfig, settings: Settings, voice_sha256: str, kind: EngineKind) -> ModelPlan:
    manifest = json.dumps(made_for(settings, voice_sha256, kind.static), indent=2) + "\n"
    files = {VOICE_FILE: settings.voice.to_json(), MANIFEST_FILE: manifest}
    return ModelPlan(config, "preprocess_model.py", (preprocess,), files)


def _ensemble(config: pb.ModelConfig) -> ModelPlan:
    """Triton loads no model without a version folder, not even an ensemble, and object stores have no empty folders."""
    return ModelPlan(config, files={"README": "An ensemble has no files, and object stores have no empty folders.\n"})


def _engine(settings: Settings, kind: EngineKind, platform: Platform) -> ModelPlan:
    config = engine_config(settings, kind, platform)
    if platform == "container":
        return ModelPlan(config)
    files = {"runtime.py": runtime_file(kind.runtime), SIZED_ENGINE.name: SIZED_ENGINE}
    return ModelPlan(config, "engine_model.py", files={name: path.read_text("utf-8") for name, path in files.items()})

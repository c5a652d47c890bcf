"""The comparison: an engine of a model repository in this process, on the very windows that the server gives it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from preprocess import Settings, Voice, preprocess
from preprocess.voice import VOICE_FILE
from sifigan_triton.features.requests import Request
from sifigan_triton.measure.load import Sample
from sifigan_triton.repository.engine_kinds import EngineKind
from sifigan_triton.repository.model_config import engine_output, window_tensors
from sifigan_triton.repository.runtimes import load_engine
from sifigan_triton.repository.servable import VERSION


def read_settings(repository: Path, ensemble: str) -> Settings:
    """Read the constants that an ensemble of a model repository begins with: those of its first step.

    Raises:
        ValueError: if it is no ensemble of this project, or is not built.

    """
    for step in _read_config(repository, ensemble).ensemble_scheduling.step:
        if step.model_name.startswith("preprocess"):
            config = _read_config(repository, step.model_name)
            voice = Voice.load(repository / step.model_name / VERSION / VOICE_FILE)
            return Settings.from_parameters(
                voice, {name: each.string_value for name, each in config.parameters.items()}
            )
    raise ValueError(f"{repository / ensemble} is no ensemble that begins with preprocess: name one that does")


def _read_config(repository: Path, model: str) -> model_config_pb2.ModelConfig:
    if not (repository / model / VERSION).is_dir():
        built = sorted(path.parent.name for path in repository.glob(f"*/{VERSION}"))
        raise ValueError(f"{repository} has no {model} that is built, found {', '.join(built) or 'no model'}")
    text = (repository / model / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


class BareEngine:
    """An engine, loaded by the code that its Triton model runs."""

    def __init__(self, repository: Path, kind: EngineKind) -> None:
        """Load the engine."""
        self._settings = read_settings(repository, kind.ensemble)
        self._inputs = {tensor.name: list(tensor.dims) for tensor in window_tensors(self._settings, kind.static)}
        samples = engine_output(self._settings, kind.static).dims[-1]
        folder = repository / kind.model / VERSION
        self._engine = load_engine(kind.runtime, folder, kind.precision, self._inputs, samples)

    def run(self, requests: Sequence[Request], count: int) -> list[Sample]:
        """Compute the windows of requests, in turn, `count` times; making the windows does not count."""
        windows = [preprocess(request.f0, request.mcep, request.bap, self._settings) for request in requests]
        samples = []
        for number in range(count):
            which = number % len(requests)
            tensors = {name: getattr(windows[which], name) for name in self._inputs}
            started = time.perf_counter()
            self._engine.run(tensors)
            samples.append(Sample(started, time.perf_counter(), requests[which].f0.size))
        return samples

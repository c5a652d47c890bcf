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
from sifigan_triton.repository.model_config import window_tensors
from sifigan_triton.repository.runtimes import load_engine
from sifigan_triton.repository.servable import VERSION


def read_settings(repository: Path, kind: EngineKind) -> Settings:
    """Read the constants of an engine's first step from a model repository.

    Raises:
        OSError: if the engine is not built there.

    """
    folder = repository / kind.first_step
    config = text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    return Settings.from_parameters(Voice.load(folder / VERSION / VOICE_FILE), parameters)


class BareEngine:
    """An engine, loaded by the code that its Triton model runs."""

    def __init__(self, repository: Path, kind: EngineKind, settings: Settings) -> None:
        """Load the engine."""
        self._settings = settings
        self._inputs = {tensor.name: list(tensor.dims) for tensor in window_tensors(settings, kind.static)}
        self._engine = load_engine(kind.runtime, repository / kind.model / VERSION, kind.precision, self._inputs)

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

"""The quality gate of the build: an engine is run on real features and judged before it is published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from postprocess import merge
from preprocess import Settings, condition
from preprocess.windows import Windows, split
from sifigan_triton.features.requests import Request, read_requests
from sifigan_triton.network.generator import Generator
from sifigan_triton.quality import Bounds, Pair, Verdict, judge
from sifigan_triton.quality.pair import HOP_SIZE
from sifigan_triton.repository.configs import window_tensors
from sifigan_triton.repository.engine_kinds import EngineKind
from sifigan_triton.repository.runtimes import load_engine

Array = npt.NDArray[np.float32]
SHORTEST_EDGES = 40
"""Frames of full windows in the utterance of the edges, at least: shorter waveforms cannot be compared."""


class Utterance:
    """One utterance: what engines get, and what the full-length FP32 generator makes of it."""

    def __init__(self, name: str, request: Request, generator: Generator, settings: Settings) -> None:
        """Condition a request for the voice of `settings`."""
        self.name, self.f0 = name, request.f0
        self.inputs = condition(request.f0, request.mcep, request.bap, settings.voice)
        self._generator, self._settings = generator, settings

    @cached_property
    def reference(self) -> Array:
        """Waveform of the full-length generator, float32 (T * hop_size,)."""
        with torch.inference_mode():
            waveform: Array = self._generator(*(torch.from_numpy(x)[None] for x in self.inputs))[0, 0].numpy()
        return waveform

    def windows(self, static: bool) -> Windows:
        """Return what a static or a dynamic engine gets."""
        return split(*self.inputs, self._settings if static else replace(self._settings, dynamic=True))


def read_utterances(files: Sequence[Path], generator: Generator, settings: Settings) -> list[Utterance]:
    """Read the utterances of the gate from files of requests; frames below the engine's F0 floor are raised to it.

    Raises:
        ValueError: naming the file, if it holds no requests.

    """
    utterances = []
    for file in files:
        requests = read_requests(file)
        for number, request in enumerate(requests, start=1):
            f0 = np.where(request.f0 > 0.0, np.maximum(request.f0, np.float32(settings.f0_floor)), np.float32(0.0))
            name = file.stem if len(requests) == 1 else f"{file.stem} {number}"
            utterances.append(Utterance(name, replace(request, f0=f0), generator, settings))
    return utterances


def edge_utterance(generator: Generator, settings: Settings) -> Utterance:
    """Return a synthetic utterance that reaches every corner of a static engine.

    It has at least two windows, the last not full, an F0 that glides up from the engine's floor and seeded features.
    """
    count = -(-SHORTEST_EDGES // settings.window)
    frames = count * settings.window + settings.window // 2 + 1
    f0 = np.geomspace(settings.f0_floor, 4.0 * settings.f0_floor, frames).astype(np.float32)
    features = []
    random = np.random.default_rng(0)
    for statistics in (settings.voice.mcep, settings.voice.bap):
        noise = random.standard_normal((frames, len(statistics.mean)))
        features.append((noise * np.array(statistics.scale) + np.array(statistics.mean)).astype(np.float32))
    request = Request(np.maximum(f0, np.float32(settings.f0_floor)), *features)
    return Utterance("glide from the floor", request, generator, settings)


def judge_engine(
    kind: EngineKind,
    folder: Path,
    utterances: Sequence[Utterance],
    settings: Settings,
    bounds: Bounds,
    report: Callable[[str], None],
) -> Verdict:
    """Run an engine on utterances, by the code that its Triton model runs, and compare it with the references.

    Args:
        kind: the engine.
        folder: its version folder.
        utterances: what to run.
        settings: constants of the voice and of the static engines.
        bounds: what it has to reach.
        report: called with each line of progress.

    """
    inputs = {tensor.name: list(tensor.dims) for tensor in window_tensors(settings, kind.static)}
    engine = load_engine(kind.runtime, folder, kind.precision, inputs)
    pairs = []
    for utterance in utterances:
        windows = utterance.windows(kind.static)
        waveform = engine.run({name: getattr(windows, name) for name in inputs})
        f0 = utterance.f0 if settings.voice.hop_size == HOP_SIZE else None  # the metrics know one frame length
        pairs.append(Pair(utterance.name, f0, utterance.reference, merge(waveform, utterance.reference.size)))
        report(f"{kind.model}: {utterance.name}, {utterance.f0.size} frames")
    return judge(pairs, kind.precision, bounds)

"""The quality gate of the build: an engine is run on real features and judged before it is published."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from postprocess import merge
from preprocess import condition
from preprocess.windows import Windows, split
from sifigan_triton.features.requests import Request, read_requests
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.export import seeded_features
from sifigan_triton.quality import Bounds, Pair, Verdict, judge
from sifigan_triton.quality.pair import HOP_SIZE
from sifigan_triton.repository.engine_kinds import EngineKind
from sifigan_triton.repository.model_config import engine_output, window_tensors
from sifigan_triton.repository.runtimes import load_engine
from sifigan_triton.repository.runtimes.sized_engine import window_sizes

logger = logging.getLogger(__name__)

Array = npt.NDArray[np.float32]
SHORTEST_EDGES = 40
"""Frames of full windows in the utterance of the edges, at least: shorter waveforms cannot be compared."""


class Utterance:
    """One utterance: what engines get, and what the full-length FP32 generator makes of it."""

    def __init__(self, name: str, request: Request, spec: EngineSpec) -> None:
        """Condition a request for the voice of `spec`."""
        self.name, self.f0 = name, request.f0
        self.inputs = condition(request.f0, request.mcep, request.bap, spec.voice)
        self._spec = spec

    @cached_property
    def reference(self) -> Array:
        """Waveform of the full-length generator, float32 (T * hop_size,)."""
        with torch.inference_mode():
            waveform: Array = self._spec.generator(*(torch.from_numpy(x)[None] for x in self.inputs))[0, 0].numpy()
        return waveform

    def windows(self, static: bool) -> Windows:
        """Return what a static or a dynamic engine gets."""
        return split(*self.inputs, replace(self._spec.settings, dynamic=not static))


def read_utterances(files: Sequence[Path], spec: EngineSpec) -> list[Utterance]:
    """Read the utterances of the gate from files of requests; frames below the engine's F0 floor are raised to it.

    Raises:
        ValueError: naming the file, if it holds no requests.

    """
    utterances = []
    for file in files:
        requests = read_requests(file)
        for number, request in enumerate(requests, start=1):
            name = file.stem if len(requests) == 1 else f"{file.stem} {number}"
            utterances.append(Utterance(name, request.raised_to(spec.f0_floor), spec))
    return utterances


def edge_utterance(spec: EngineSpec) -> Utterance:
    """Return a synthetic utterance that reaches every corner of a static engine.

    It has at least two windows, the last not full, an F0 that glides up from the engine's floor and seeded features.
    """
    return _glide(spec, "glide from the floor", max(spec.window - 1, 1))


def smaller_window_utterances(spec: EngineSpec) -> list[Utterance]:
    """Return synthetic utterances that end within each smaller window of an engine, and at the end of two."""
    sizes = window_sizes(spec.window)[1:]
    ends = [*(frames - 1 for frames in sizes), *map(sum, itertools.pairwise(sizes))]
    return [_glide(spec, f"glide, ends with {frames} frames", frames) for frames in ends]


def _glide(spec: EngineSpec, name: str, last: int) -> Utterance:
    """Return an utterance of full windows and `last` frames in one more."""
    count = -(-SHORTEST_EDGES // spec.window)
    frames = count * spec.window + last
    f0 = np.geomspace(spec.f0_floor, 4.0 * spec.f0_floor, frames).astype(np.float32)
    request = Request(f0, *seeded_features(spec.voice, frames))
    return Utterance(name, request.raised_to(spec.f0_floor), spec)


def judge_engine(
    kind: EngineKind, folder: Path, spec: EngineSpec, utterances: Sequence[Utterance], bounds: Bounds, seeded: bool
) -> Verdict:
    """Run an engine on utterances, by the code that its Triton model runs, and compare it with the references.

    Args:
        kind: the engine.
        folder: its version folder.
        spec: the voice and the shape of the static engines.
        utterances: what to run.
        bounds: what it has to reach.
        seeded: whether the features are seeded, and so no voice: finite samples and SNR judge.

    """
    inputs = {tensor.name: list(tensor.dims) for tensor in window_tensors(spec.settings, kind.static)}
    samples = engine_output(spec.settings, kind.static).dims[-1]
    engine = load_engine(kind.runtime, folder, kind.precision, inputs, samples)
    pairs = []
    for utterance in utterances:
        logger.debug("%s: %s, %d frames", kind.model, utterance.name, utterance.f0.size)
        windows = utterance.windows(kind.static)
        waveform = engine.run({name: getattr(windows, name) for name in inputs})
        f0 = utterance.f0 if spec.voice.hop_size == HOP_SIZE else None  # the metrics know one frame length
        pairs.append(Pair(utterance.name, f0, utterance.reference, merge(waveform, utterance.reference.size)))
    return judge(pairs, kind.precision, bounds, seeded=seeded)

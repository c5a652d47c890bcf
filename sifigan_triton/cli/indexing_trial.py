"""Which `pd_indexing` a voice was trained with, found with recordings: both rules are run, and one lies nearer.

The files of the public training code do not tell. A voice makes the better copy with the rule that it was trained with,
but by little, and only of a voice that it knows; so the trial counts half-seconds and says when it cannot tell.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from preprocess import condition
from preprocess.voice import PdIndexing, Voice
from sifigan_triton.features.analysis import analyze
from sifigan_triton.features.audio import read_audio
from sifigan_triton.features.features import Features
from sifigan_triton.network.generator import Generator
from sifigan_triton.quality import Method, Pair, Scores, judge, snr_db
from sifigan_triton.quality.comparison import METRICS
from sifigan_triton.quality.verdict import format_table
from sifigan_triton.quality.waveform import stft_distance

logger = logging.getLogger(__name__)

RULES: tuple[PdIndexing, PdIndexing] = ("reflect", "zero")

MAX_SECONDS = 30
"""Seconds of a recording that are used, from its start: the generator's memory grows with them."""

BLOCK_SECONDS = 0.5
"""Length of the parts that are compared each by itself; frames would not be independent of their neighbours."""

MIN_BLOCKS = 8
"""Parts below which nothing is said."""

MIN_T = 4.0
"""Student's t of the paired differences from which one rule counts as nearer. Measured: 9 and 14 for the right rule on
a recording that the voice was trained with; on others 0.2 to 1.4 for either, and 4.9 once, for the right one."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class IndexingTrial:
    """What both rules made of the same recordings."""

    scores: tuple[Scores, ...]
    """All metrics of each recording and rule."""
    differences: tuple[float, ...]
    """STFT distance to the recording, `zero` less `reflect`, of each part; above 0: `reflect` lies nearer."""
    agreement_db: float
    """SNR between the waveforms of both rules, in dB, the smallest of all recordings: what is at stake."""

    @property
    def t(self) -> float:
        """Student's t of the differences; above 0: `reflect` lies nearer."""
        values = np.array(self.differences)
        if len(values) < 2 or not values.any():
            return 0.0
        return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values))))

    @property
    def found(self) -> PdIndexing | None:
        """The rule that lies nearer to the recordings; None if that cannot be told."""
        if len(self.differences) < MIN_BLOCKS or abs(self.t) < MIN_T:
            return None
        return "reflect" if self.t > 0.0 else "zero"

    def table(self) -> str:
        """Return a row of metrics for each recording and rule."""
        rows = [(score.name, score.values) for score in self.scores]
        return format_table(rows, {metric.name: None for metric in METRICS})

    def summary(self) -> str:
        """Return a sentence on the outcome."""
        reflect, zero = (sum(sign * value > 0.0 for value in self.differences) for sign in (1, -1))
        counts = (
            f"reflect lies nearer to the recordings in {reflect} of {len(self.differences)} half-seconds, zero in "
            f"{zero} (t = {self.t:.1f}; {MIN_T:g} or more says reflect, -{MIN_T:g} or less zero, from {MIN_BLOCKS} "
            f"half-seconds on); the two waveforms agree to {self.agreement_db:.0f} dB"
        )
        return f"{self.found} fits: {counts}" if self.found else f"the two cannot be told apart: {counts}"


def try_indexing(voice: Voice, generator: Generator, recordings: Sequence[Path]) -> IndexingTrial:
    """Analyse recordings, synthesise them with both rules and compare the results with the recordings.

    Args:
        voice: the voice's constants; its `pd_indexing` is not used.
        generator: its weights.
        recordings: audio files, best of what the voice was trained with; the first 30 s of each are used.

    Raises:
        AudioError: if a recording cannot be read.
        AnalysisError: if it cannot be analysed.
        QualityError: if it is silent or too short to compare.

    """
    pairs: list[Pair] = []
    differences: list[float] = []
    agreements: list[float] = []
    for path in recordings:
        logger.info("%s: synthesising with both rules", path)
        waveform = read_audio(path, voice.sample_rate)[: MAX_SECONDS * voice.sample_rate]
        features = analyze(waveform, voice.sample_rate, voice.analysis, voice.hop_size)
        reflect, zero = (_synthesize(voice, generator, rule, features)[: len(waveform)] for rule in RULES)
        pairs += [
            Pair(f"{path.name}, {rule}", None, waveform, copy)
            for rule, copy in zip(RULES, (reflect, zero), strict=True)
        ]
        differences += _differences(waveform, reflect, zero, round(BLOCK_SECONDS * voice.sample_rate))
        agreements.append(snr_db(reflect, zero))
    verdict = judge(pairs, method=Method("recording", voice.analysis))
    return IndexingTrial(verdict.scores, tuple(differences), min(agreements))


def _synthesize(voice: Voice, generator: Generator, rule: PdIndexing, features: Features) -> Array:
    """Run the full-length generator under a rule: float64 (T * hop_size,)."""
    network = Generator(voice.generator, rule).eval()
    network.load_state_dict(generator.state_dict())
    inputs = condition(features.f0, features.mcep, features.bap, replace(voice, pd_indexing=rule))
    with torch.inference_mode():
        waveform: Array = network(*(torch.from_numpy(x)[None] for x in inputs))[0, 0].double().numpy()
    return waveform


def _differences(recording: Array, reflect: Array, zero: Array, block: int) -> list[float]:
    """Return how much further away `zero` lies than `reflect` in each part in which the recording is not silent."""
    parts = [slice(start, start + block) for start in range(0, len(recording) - block + 1, block)]
    return [
        stft_distance(recording[part], zero[part]) - stft_distance(recording[part], reflect[part])
        for part in parts
        if recording[part].any()
    ]

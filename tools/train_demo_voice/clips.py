"""What a voice is measured on: held-out utterances of its corpus, and recordings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from preprocess import Voice
from sifigan_triton.features.analysis import analyze
from sifigan_triton.features.audio import read_audio
from sifigan_triton.features.features import Features

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Clip:
    """A recording and its features."""

    name: str
    waveform: FloatArray
    """(T * 120,)"""
    features: Features


def held_out_clips(corpus: Path) -> list[Clip]:
    """Read the held-out utterances of a corpus."""
    clips = []
    for path in sorted(corpus.glob("heldout-*.npz")):
        with np.load(path, allow_pickle=False) as data:
            features = Features(data["f0"], data["mcep"], data["bap"], 24000, 5.0)
            clips.append(Clip(path.stem, data["waveform"].astype(np.float64) / 32767.0, features))
    return clips


def recorded_clip(path: Path, voice: Voice) -> Clip:
    """Read and analyse a recording."""
    waveform = read_audio(path, voice.sample_rate)
    features = analyze(waveform, voice.sample_rate, voice.analysis, voice.hop_size)
    return Clip(path.stem, np.pad(waveform, (0, features.frames * voice.hop_size - len(waveform))), features)

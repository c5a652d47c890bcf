"""A toy corpus: buzzes instead of speech and singing, so that the whole recipe can be tried in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tools.train_demo_voice.corpus import SAMPLE_RATE, analyze_pair

TRAINING = (
    *("--channels", "16", "--steps", "4", "--batch-size", "2", "--frames", "12"),
    *("--discriminator-channels", "2", "--picture-every", "4"),
)
"""Options of `train.py`."""

NAMES = ("train-00000-speech", "train-00001-song", "heldout-00002-speech")


def tone(seconds: float, f0: float = 180.0, level: float = 0.02, pause: float = 0.1) -> npt.NDArray[np.float64]:
    """Make a buzz with a pause in its middle, in a little noise.

    Args:
        seconds: its length.
        f0: its pitch in Hz.
        level: amplitude of its first harmonic.
        pause: seconds without the buzz.

    Returns:
        float64 (seconds * 24000,).

    """
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(np.cos(2.0 * np.pi * k * f0 * time) / k for k in range(1, 30))
    noise = np.random.default_rng(0).normal(0.0, 0.01, len(time))
    gate = np.abs(time - seconds / 2.0) >= pause / 2.0
    return np.asarray(level * (buzz * gate + noise), np.float64)


def make_toy_corpus(folder: Path) -> None:
    """Write three short buzzes, two to train on and one held out, as `corpus.py` writes utterances."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(NAMES):
        pcm, features = analyze_pair(tone(0.6, 150.0 + 40.0 * index), (100.0, 300.0))
        np.savez(folder / f"{name}.npz", waveform=pcm, f0=features.f0, mcep=features.mcep, bap=features.bap, text="-")

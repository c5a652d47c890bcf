"""A toy corpus and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from preprocess import Voice
from tests.demo_voice.toy import CPU, PLAN, tone
from tests.small_voice import one_thread
from tools.train_demo_voice.corpus import analyze_pair
from tools.train_demo_voice.dataset import (
    Recording,
    load_recordings,
    make_voice,
)
from tools.train_demo_voice.trainer import Trainer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a corpus of three short buzzes."""
    folder = tmp_path_factory.mktemp("corpus")
    for index, name in enumerate(("train-00000-speech", "train-00001-song", "heldout-00002-speech")):
        pcm, features = analyze_pair(tone(0.6, 150.0 + 40.0 * index), (100.0, 300.0))
        np.savez(folder / f"{name}.npz", waveform=pcm, f0=features.f0, mcep=features.mcep, bap=features.bap, text="-")
    return folder


@pytest.fixture
def recordings(corpus: Path) -> list[Recording]:
    return load_recordings(corpus, "train")


@pytest.fixture
def voice(recordings: list[Recording]) -> Voice:
    return make_voice(recordings, PLAN.channels)


@pytest.fixture
def trainer(voice: Voice, recordings: list[Recording]) -> Iterator[Trainer]:
    with one_thread():
        yield Trainer(voice, PLAN, recordings, CPU)

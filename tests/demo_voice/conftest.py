"""A toy corpus and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from preprocess import Voice
from tests.demo_voice.toy import CPU, PLAN
from tests.small_voice import one_thread
from tools.train_demo_voice.dataset import (
    Recording,
    load_recordings,
    make_voice,
)
from tools.train_demo_voice.toy import make_toy_corpus
from tools.train_demo_voice.trainer import Trainer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a corpus of three short buzzes."""
    folder = tmp_path_factory.mktemp("corpus")
    make_toy_corpus(folder)
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

"""The trial that finds how a voice reads beyond the ends of an utterance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import soundfile

from preprocess import condition
from preprocess.voice import PdIndexing
from sifigan_triton.cli import indexing_trial
from sifigan_triton.cli.indexing_trial import MIN_BLOCKS, RULES, IndexingTrial, try_indexing
from sifigan_triton.features.features import Features
from sifigan_triton.quality import Bounds, Pair, Verdict
from tests.small_voice import random_features, run_generator, small_voice

RATE, HOP = 24000, 120
FRAMES = 1000


def test_all_rules_are_tried() -> None:
    assert get_args(PdIndexing) == RULES


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> Features:
    """Features that every analysis finds, so that the right rule makes the recording itself."""
    f0 = (250.0 + 100.0 * np.sin(np.arange(FRAMES) / 40.0)).astype(np.float32)
    found = Features(f0, *random_features(small_voice()[0], FRAMES), RATE, 5.0)
    monkeypatch.setattr(indexing_trial, "analyze", lambda *_: found)
    return found


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[Pair]:
    """The pairs that were handed to the metrics, which have their own tests and take their time."""
    handed: list[Pair] = []

    def judge(pairs: list[Pair], **options: Any) -> Any:
        assert options["method"].mode == "recording"
        handed.extend(pairs)
        return Verdict(options["method"], Bounds(), ())

    monkeypatch.setattr(indexing_trial, "judge", judge)
    return handed


@pytest.mark.parametrize("imported", RULES)
@pytest.mark.parametrize("rule", RULES)
def test_rule_of_the_recording_is_found(
    tmp_path: Path, features: Features, judged: list[Pair], rule: PdIndexing, imported: PdIndexing
) -> None:
    """Whatever the voice says of itself."""
    voice, generator = small_voice(rule)
    waveform = run_generator(generator, condition(features.f0, features.mcep, features.bap, voice))
    soundfile.write(tmp_path / "in.wav", waveform, RATE, subtype="FLOAT")
    generator.pd_indexing = imported
    trial = try_indexing(replace(voice, pd_indexing=imported), generator, [tmp_path / "in.wav"])
    assert trial.found == rule
    assert f"{rule} fits: " in trial.summary()
    assert [pair.name for pair in judged] == ["in.wav, reflect", "in.wav, zero"]
    copy = judged[RULES.index(rule)]
    np.testing.assert_allclose(copy.test, copy.reference, rtol=0.0, atol=1e-5)


def trial(differences: list[float]) -> IndexingTrial:
    return IndexingTrial((), tuple(differences), 30.0)


@pytest.mark.parametrize(
    "differences",
    [
        pytest.param([0.1, 0.2] * (MIN_BLOCKS // 2 - 1), id="too-short"),
        pytest.param([0.1, -0.1, 0.2, -0.1] * 10, id="both-ways"),
        pytest.param([0.0] * 40, id="equal"),
        pytest.param([], id="silent"),
    ],
)
def test_what_cannot_be_told_is_not_guessed(differences: list[float]) -> None:
    assert trial(differences).found is None
    assert "cannot be told apart" in trial(differences).summary()


def test_outcome_turns_with_the_sign() -> None:
    differences = [0.1, 0.2, 0.3, -0.05] * 4
    assert trial(differences).found == "reflect"
    assert trial([-value for value in differences]).found == "zero"

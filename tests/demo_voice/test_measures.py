"""What the demonstration voice is measured by."""

from __future__ import annotations

import numpy as np
import pytest

from preprocess import Voice
from sifigan_triton.quality.pitch import PitchErrors
from tests.demo_voice.toy import HOP, RATE, tone
from tools.train_demo_voice.clips import Clip
from tools.train_demo_voice.corpus import analyze_pair
from tools.train_demo_voice.evaluate import make_tables
from tools.train_demo_voice.measures import harmonic_to_noise_db, world_resynthesis
from tools.train_demo_voice.moves import Move, judge_move


def test_harmonic_to_noise_ratio_of_a_tone_in_noise() -> None:
    f0 = np.full(100, 200.0)
    time = np.arange(100 * HOP) / RATE
    tones = np.cos(2.0 * np.pi * 200.0 * time) + np.cos(2.0 * np.pi * 400.0 * time)  # power 1
    noise = np.random.default_rng(0).normal(0.0, 0.1, len(time))  # power 0.01
    assert np.median(harmonic_to_noise_db(tones + noise, f0, RATE, HOP)) == pytest.approx(20.0, abs=1.5)
    assert np.median(harmonic_to_noise_db(noise, f0, RATE, HOP)) < 0.0
    assert not harmonic_to_noise_db(noise, 0.0 * f0, RATE, HOP).size


def test_world_resynthesis_takes_the_delay_of_the_analysis_back(voice: Voice) -> None:
    pcm, features = analyze_pair(np.concatenate([np.zeros(7200), tone(0.4), np.zeros(7200)]), (100.0, 300.0))
    made = world_resynthesis(features, voice)
    assert len(made) == len(pcm)
    centres = [np.average(np.arange(len(w)), weights=w.astype(np.float64) ** 2) for w in (pcm, made)]
    assert centres[1] - centres[0] == pytest.approx(0.0, abs=60.0)  # half a frame; the filter's delay is 127 samples


def test_a_moved_pitch_is_judged_against_the_contour_asked_for(voice: Voice) -> None:
    pcm, features = analyze_pair(tone(0.4, 150.0, pause=0.0), (100.0, 300.0))
    clip = Clip("x", pcm / 32767.0, features)
    plain, moved = (np.pad(tone(0.4, f0, 0.02 * f0 / 150.0, pause=0.0), (0, HOP)) for f0 in (150.0, 210.0))
    right, wrong = (judge_move(clip, plain, moved, factor, voice) for factor in (1.4, 1.5))
    assert right.error.both_voiced > 20
    assert right.error.log_f0_rmse == pytest.approx(0.0, abs=0.02)
    assert wrong.error.log_f0_rmse == pytest.approx(np.log(1.5 / 1.4), abs=0.02)
    assert right.level_db == pytest.approx(20.0 * np.log10(1.4), abs=0.5)
    assert right.world.log_f0_rmse == pytest.approx(0.0, abs=0.02)
    assert right.confirmed.both_voiced > 0.9 * right.error.both_voiced
    assert wrong.confirmed.log_f0_rmse == pytest.approx(wrong.error.log_f0_rmse, abs=0.01)
    assert judge_move(clip, plain, moved, 20.0, voice).error.frames == 0


def test_frames_count_as_confirmed_where_world_has_the_pitch_asked_for(voice: Voice) -> None:
    """A voice that has the pitch everywhere, of features of which WORLD cannot: a third of them are all noise."""
    pcm, features = analyze_pair(tone(0.4, 150.0, pause=0.0), (100.0, 300.0))
    noise = np.arange(features.frames) < features.frames // 3
    features.bap[noise] = 0.0
    made = np.pad(tone(0.4, 150.0, pause=0.0), (0, HOP))
    move = judge_move(Clip("x", pcm / 32767.0, features), made, made, 1.0, voice)
    assert 0.5 * move.error.both_voiced < move.confirmed.both_voiced < 0.8 * move.error.both_voiced
    assert move.confirmed.log_f0_rmse == pytest.approx(0.0, abs=0.02)
    assert move.confirmed.voicing_errors <= 0.1 * move.confirmed.frames
    assert move.world_confirmed.frames == move.confirmed.frames
    assert move.world_confirmed.voicing_errors == 0
    assert move.world_confirmed.log_f0_rmse == pytest.approx(0.0, abs=0.05)


def test_frames_that_lose_their_voice_are_told(voice: Voice) -> None:
    pcm, features = analyze_pair(tone(0.4, 150.0, pause=0.0), (100.0, 300.0))
    made = np.pad(tone(0.4, 150.0, pause=0.0), (0, HOP))
    made[len(made) // 2 :] = 0.0
    move = judge_move(Clip("x", pcm / 32767.0, features), made, made, 1.0, voice)
    assert move.confirmed.log_f0_rmse == pytest.approx(0.0, abs=0.02)
    assert move.confirmed.vuv_percent == pytest.approx(50.0, abs=10.0)


def errors(frames: int, error: float) -> PitchErrors:
    return PitchErrors(frames, 0, frames, frames * error**2)


def test_figures_pool_frames_and_show_the_worst() -> None:
    unheard = PitchErrors(60, 10, 50, 0.5)
    moves = [
        Move("heldout-1", 2.0, errors(300, 0.0), errors(300, 0.1), errors(300, 0.0), errors(300, 0.02), -1.0, 0.0),
        Move("vocadito", 2.0, errors(100, 0.2), errors(100, 0.1), unheard, errors(50, 0.02), -5.0, -3.0),
    ]
    scores: dict[str, float | None] = {"mcd": 3.0, "log_f0": 0.05, "vuv": 4.0, "visqol": None, "loudness": -1.0}
    copies = {name: {"voice": scores, "WORLD": scores} for name in ("heldout-1", "vocadito")}
    tables = make_tables(copies, moves)
    assert "| 2 | 0.100 | 0.100 | 0.038 | 0.020 | 90% | 2.8% | 0.100 | -3.0 | -5.0 | -1.5 | -3.0 |" in tables
    unconfirmed = Move("heldout-1", 0.5, errors(300, 0.5), errors(300, 0.5), PitchErrors(), PitchErrors(), 0.0, 0.0)
    assert "| 0.5 | 0.500 | 0.500 | - | - | 0% | - | - | 0.0 |" in make_tables(copies, [unconfirmed])
    assert "| vocadito (unseen singer): WORLD | 3.000 | 0.050 | 4.000 | - | -1.000 |" in tables

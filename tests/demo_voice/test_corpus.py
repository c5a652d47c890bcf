"""The corpus of the demonstration voice and what is drawn from it, on toy sizes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from preprocess import Voice
from preprocess.voice import AnalysisSettings
from sifigan_triton.features.analysis import analyze
from tests.demo_voice.toy import HOP, RATE, tone
from tools.train_demo_voice import augment
from tools.train_demo_voice.contours import chanted, moved
from tools.train_demo_voice.corpus import HELD_OUT_EVERY, KINDS, Utterance
from tools.train_demo_voice.dataset import (
    PEAK,
    CorpusError,
    Recording,
    collate,
    cut,
    draw_batch,
    load_recordings,
    transposed,
    unvoiced,
    with_gain,
)
from tools.train_demo_voice.scores import HIGHEST_MIDI, LOWEST_MIDI, SEMITONES, make_score
from tools.train_demo_voice.sentences import make_sentences


def test_sentences_are_all_different_and_a_longer_list_begins_with_the_shorter() -> None:
    sentences = make_sentences(500)
    assert len(set(sentences)) == 500
    assert make_sentences(100) == sentences[:100]
    assert all(sentence[0].isupper() and sentence[-1] in ".?!" for sentence in sentences)


def test_every_kind_is_trained_on_and_held_out() -> None:
    utterances = [Utterance(index) for index in range(HELD_OUT_EVERY * 20)]
    held_out = [utterance for utterance in utterances if utterance.held_out]
    assert len(held_out) == 20
    assert {utterance.kind for utterance in held_out} == set(KINDS)
    assert all(utterance.name.startswith("heldout-") == utterance.held_out for utterance in utterances)


def test_an_utterance_draws_the_same_numbers_every_time() -> None:
    assert Utterance(7).random().random() == Utterance(7).random().random()
    assert Utterance(7).random().random() != Utterance(8).random().random()


def test_scores_are_full_bars_within_the_compass() -> None:
    root = ElementTree.fromstring(make_score(3).split("?>", 1)[1].split(">", 1)[1])
    for measure in root.iter("measure"):
        assert sum(int(note.findtext("duration", "0")) for note in measure.iter("note")) == 16
    for pitch in root.iter("pitch"):
        name = pitch.findtext("step", "") + "#" * int(pitch.findtext("alter", "0"))
        midi = 12 * (int(pitch.findtext("octave", "0")) + 1) + SEMITONES.index(name)
        assert LOWEST_MIDI <= midi <= HIGHEST_MIDI


def test_moved_contour_has_the_median_and_spread_asked_for() -> None:
    f0 = np.array([0.0, 100.0, 200.0, 400.0, 0.0])
    np.testing.assert_allclose(moved(f0, 300.0, 0.5), [0.0, 300.0 / np.sqrt(2.0), 300.0, 300.0 * np.sqrt(2.0), 0.0])
    assert not moved(np.zeros(3), 300.0, 0.5).any()


def test_chanted_contour_stays_near_its_compass_and_silent_where_unvoiced() -> None:
    voiced = np.arange(400) % 50 > 5
    f0 = chanted(voiced, 80.0, 200.0, np.random.default_rng(1))
    assert ((f0 > 0.0) == voiced).all()
    assert f0[voiced].min() > 200.0 * 2.0 ** (-1 / 12)
    assert f0.max() < 200.0 * 2.0 ** (15 / 12)


def test_levelled_ignores_pauses() -> None:
    burst = np.random.default_rng(0).normal(0.0, 0.3, RATE // 2 // 480 * 480)
    levelled = augment.levelled(np.concatenate([burst, np.zeros(RATE)]))
    assert 20.0 * np.log10(levelled[: len(burst)].std()) == pytest.approx(augment.LEVEL_DB, abs=0.1)


def test_rumble_goes_and_the_voice_stays() -> None:
    time = np.arange(RATE) / RATE
    rumble, voice = np.sin(2.0 * np.pi * 20.0 * time), 0.1 * np.sin(2.0 * np.pi * 150.0 * time)
    np.testing.assert_allclose(
        augment.without_rumble(rumble + voice, RATE, 60.0)[4800:-4800], voice[4800:-4800], atol=2e-3
    )


def test_resampling_moves_the_pitch() -> None:
    spectrum = np.abs(np.fft.rfft(augment.resampled(np.sin(2.0 * np.pi * 500.0 * np.arange(RATE) / RATE), 1.25)))
    assert np.argmax(spectrum) * RATE / (2.0 * (len(spectrum) - 1)) == pytest.approx(625.0, abs=3.0)


def test_a_gain_on_features_is_a_gain_before_the_analysis() -> None:
    waveform = tone(0.5)
    settings = AnalysisSettings(f0_floor=100.0, f0_ceiling=300.0)
    quiet, loud = (analyze(waveform * gain, RATE, settings, HOP) for gain in (1.0, 4.0))
    pcm = np.zeros(quiet.frames * HOP, np.int16)
    mcep = with_gain(Recording("x", pcm, quiet.f0, quiet.f0, quiet.mcep, quiet.bap), 20.0 * np.log10(4.0))
    np.testing.assert_allclose(loud.f0, quiet.f0, rtol=1e-5)
    assert np.abs(loud.bap - quiet.bap).mean() < 0.1  # dB; WORLD adds a little noise of its own
    assert np.abs(loud.mcep - mcep).mean() < 0.01


def test_a_gain_never_clips(recordings: list[Recording]) -> None:
    recording = recordings[0]
    lifted = float((with_gain(recording, 60.0) - recording.mcep)[0, 0])
    assert lifted == pytest.approx(np.log(PEAK / (np.abs(recording.waveform).max() / 32767.0)), abs=1e-4)


@pytest.mark.parametrize(("factor", "expected"), [(1.5, 1.5), (0.5, 0.5), (8.0, 900.0 / 400.0), (0.1, 60.0 / 200.0)])
def test_pitch_is_moved_within_its_range(recordings: list[Recording], factor: float, expected: float) -> None:
    f0 = np.array([0.0, 200.0, 400.0], np.float32)
    segment = replace(recordings[0], f0=f0, cf0=np.array([300.0, 200.0, 400.0], np.float32))
    result = transposed(segment, factor)
    np.testing.assert_allclose(result.f0, f0 * expected, rtol=1e-6)
    np.testing.assert_allclose(result.cf0, segment.cf0 * expected, rtol=1e-6)


def test_pitch_beyond_the_range_is_not_moved_further(recordings: list[Recording]) -> None:
    high = np.full(3, 1000.0, np.float32)
    segment = replace(recordings[0], f0=high, cf0=high)
    assert transposed(segment, 2.0).cf0.max() == 1000.0
    assert transposed(segment, 0.9).cf0.max() == pytest.approx(900.0)


def test_a_segment_without_f0_is_noise_of_the_same_power(recordings: list[Recording], voice: Voice) -> None:
    segment = cut(recordings[0], 10, 24)
    whisper = collate([unvoiced(segment)], [0.0], [5], voice)
    noise = np.random.default_rng(5).standard_normal(24 * HOP, np.float32)
    np.testing.assert_allclose(whisper.excitation[0, 0].numpy(), noise * voice.noise_amp / 3.0, atol=1e-7)
    np.testing.assert_allclose(whisper.source[0].numpy()[HOP:-HOP], noise[HOP:-HOP], atol=1e-3)
    sung = collate([segment], [0.0], [5], voice)
    ratio = float((whisper.target**2).mean() / (sung.target**2).mean())
    assert 0.2 < ratio < 5.0, "the envelope stays"


def test_batches_follow_from_seed_and_step(recordings: list[Recording], voice: Voice) -> None:
    one, same, next_step = (draw_batch(recordings, voice, 2, 24, 0, step) for step in (5, 5, 6))
    assert torch.equal(one.target, same.target)
    assert torch.equal(one.excitation, same.excitation)
    assert not torch.equal(one.target, next_step.target)
    assert one.excitation.shape == (2, 1, 24 * HOP)
    assert one.target.shape == one.source.shape == (2, 24 * HOP)
    assert one.features.shape == (2, 43, 24)
    assert one.mcep.shape == (2, 24, 40)


def test_a_segment_holds_the_frames_of_its_place(recordings: list[Recording]) -> None:
    recording = recordings[0]
    part = cut(recording, 10, 20)
    assert np.array_equal(part.waveform, recording.waveform[10 * HOP : 30 * HOP])
    assert np.array_equal(part.mcep, recording.mcep[10:30])
    beyond = cut(recording, recording.frames - 5, 20)
    assert beyond.frames == 20
    assert not beyond.waveform[5 * HOP :].any()


def test_statistics_normalise_a_corpus_of_random_level(recordings: list[Recording], voice: Voice) -> None:
    batches = [draw_batch(recordings, voice, 4, 96, 0, step).features for step in range(40)]
    features = torch.cat(batches).transpose(0, 1).flatten(1)
    assert features.mean(dim=1).abs().max() < 0.5
    assert 0.5 < features[0].std() < 1.2
    assert features[1:].std(dim=1).max() < 1.5


def test_a_corpus_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=re.escape(f"{tmp_path} holds no train-*.npz: make it with python -m tools")):
        load_recordings(tmp_path, "train")

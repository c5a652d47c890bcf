"""The demonstration voice's corpus, training and export, on toy sizes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from preprocess import Voice, condition
from preprocess.voice import AnalysisSettings
from sifigan_triton.analysis import analyze
from sifigan_triton.generator import Generator
from sifigan_triton.melcepstrum import mc2sp
from sifigan_triton.voices import load_voice
from tests.small_voice import one_thread
from tools.train_demo_voice import augment, export
from tools.train_demo_voice.contours import chanted, moved
from tools.train_demo_voice.corpus import HELD_OUT_EVERY, KINDS, Utterance, analyze_pair
from tools.train_demo_voice.dataset import (
    PEAK,
    CorpusError,
    Recording,
    cut,
    draw_batch,
    load_recordings,
    make_voice,
    with_gain,
)
from tools.train_demo_voice.evaluate import Clip, Move, judge_move, make_tables, pooled_log_f0
from tools.train_demo_voice.losses import ResidualLoss, SpectralLoss
from tools.train_demo_voice.measures import harmonic_to_noise_db, world_resynthesis
from tools.train_demo_voice.scores import HIGHEST_MIDI, LOWEST_MIDI, SEMITONES, make_score
from tools.train_demo_voice.sentences import make_sentences
from tools.train_demo_voice.train import CHECKPOINT_FILE, LOG_FILE, LossLog
from tools.train_demo_voice.trainer import CheckpointMismatchError, Plan, SourceKeepingGenerator, Trainer

RATE, HOP = 24000, 120
PLAN = Plan(channels=16, steps=4, batch_size=2, frames=12, adversarial_from=0.5, discriminator_channels=2)
CPU = torch.device("cpu")


def tone(seconds: float, f0: float = 180.0, level: float = 0.02, pause: float = 0.1) -> npt.NDArray[np.float64]:
    """Make a buzz with a pause in its middle, in a little noise."""
    time = np.arange(int(seconds * RATE)) / RATE
    buzz = sum(np.cos(2.0 * np.pi * k * f0 * time) / k for k in range(1, 30))
    noise = np.random.default_rng(0).normal(0.0, 0.01, len(time))
    gate = np.abs(time - seconds / 2.0) >= pause / 2.0
    return np.asarray(level * (buzz * gate + noise), np.float64)


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


def weights_of(trainer: Trainer) -> list[torch.Tensor]:
    return [*trainer.generator.parameters(), *trainer.average.parameters(), *trainer.discriminators.parameters()]


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
    _, mcep = with_gain(Recording("x", pcm, quiet.f0, quiet.f0, quiet.mcep, quiet.bap), 20.0 * np.log10(4.0))
    np.testing.assert_allclose(loud.f0, quiet.f0, rtol=1e-5)
    assert np.abs(loud.bap - quiet.bap).mean() < 0.1  # dB; WORLD adds a little noise of its own
    assert np.abs(loud.mcep - mcep).mean() < 0.01


def test_a_gain_never_clips(recordings: list[Recording]) -> None:
    recording = recordings[0]
    waveform, mcep = with_gain(recording, 60.0)
    assert np.abs(waveform).max() == pytest.approx(PEAK, rel=1e-5)
    lifted = float((mcep - recording.mcep)[0, 0])
    assert lifted == pytest.approx(np.log(PEAK / (np.abs(recording.waveform).max() / 32767.0)), abs=1e-4)


def test_batches_follow_from_seed_and_step(recordings: list[Recording], voice: Voice) -> None:
    one, same, next_step = (draw_batch(recordings, voice, 2, 24, 0, step) for step in (5, 5, 6))
    assert torch.equal(one.target, same.target)
    assert torch.equal(one.excitation, same.excitation)
    assert not torch.equal(one.target, next_step.target)
    assert one.target.shape == one.excitation.shape == (2, 1, 24 * HOP)
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


def test_spectral_loss_is_zero_for_the_same_and_the_gain_in_nepers_for_a_gain() -> None:
    loss = SpectralLoss(RATE)
    noise = torch.from_numpy(np.random.default_rng(0).normal(0.0, 0.3, (2, 8192)).astype(np.float32))
    same, half = (loss(noise * gain, noise) for gain in (1.0, 0.5))
    assert {name: float(value) for name, value in same.items()} == {"mel": 0.0, "log": 0.0, "convergence": 0.0}
    assert [float(half[name]) for name in ("mel", "log")] == pytest.approx([np.log(2.0)] * 2, abs=0.01)
    assert float(half["convergence"]) == pytest.approx(0.5, abs=1e-3)


def test_residual_loss_knows_the_envelope_of_a_mel_cepstrum() -> None:
    loss = ResidualLoss(1, RATE, HOP, 0.466, 39)
    mcep = np.random.default_rng(0).normal(0.0, 0.3, (5, 40))
    log_power = torch.from_numpy(mcep.astype(np.float32)) @ loss.get_buffer("envelope")
    np.testing.assert_allclose(log_power.numpy(), np.log(mc2sp(mcep, 0.466, 1024)), atol=1e-4)


def test_residual_loss_vanishes_for_the_recording_itself_where_its_envelope_is_flat() -> None:
    loss = ResidualLoss(1, RATE, HOP, 0.466, 39)
    with torch.no_grad():
        loss.readout.weight.fill_(1.0)
        assert loss.readout.bias is not None
        loss.readout.bias.zero_()
    noise = torch.from_numpy(np.random.default_rng(0).normal(0.0, 0.3, (1, 24 * HOP)).astype(np.float32))
    distances = [float(loss(gain * noise[:, None], noise, torch.zeros(1, 24, 40)).detach()) for gain in (1.0, 2.0)]
    assert distances == pytest.approx([0.0, np.log(2.0)], abs=0.02)


@one_thread()
def test_the_generator_that_is_trained_is_the_one_that_is_served(recordings: list[Recording], voice: Voice) -> None:
    batch = draw_batch(recordings, voice, 2, 12, 0, 0)
    trained, served = (kind(voice.generator, voice.pd_indexing) for kind in (SourceKeepingGenerator, Generator))
    trained.load_state_dict(served.state_dict())
    outputs = [one(batch.excitation, batch.features, batch.offsets) for one in (trained, served)]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().sum().backward()
    for mine, its in zip(trained.parameters(), served.parameters(), strict=True):
        assert mine.grad is not None
        assert its.grad is not None
        torch.testing.assert_close(mine.grad, its.grad, rtol=1e-3, atol=1e-5)


def test_a_resumed_training_equals_one_in_a_piece(
    trainer: Trainer, recordings: list[Recording], tmp_path: Path
) -> None:
    begun = Trainer(trainer.voice, PLAN, recordings, CPU)
    for _ in range(PLAN.steps):
        losses = trainer.train_step()
    for _ in range(3):  # the discriminators set in at step 2
        begun.train_step()
    begun.save(tmp_path / CHECKPOINT_FILE)
    resumed = Trainer.resume(tmp_path / CHECKPOINT_FILE, PLAN, recordings, CPU)
    assert resumed.step == 3
    assert resumed.train_step() == losses
    assert {"mel", "residual", "discriminator", "features"} <= losses.keys()
    assert all(torch.equal(a, b) for a, b in zip(weights_of(resumed), weights_of(trainer), strict=True))


def test_training_learns_a_batch(voice: Voice, recordings: list[Recording]) -> None:
    losses = []
    with one_thread():
        trainer = Trainer(voice, replace(PLAN, steps=1000, warm_up_steps=1), recordings, CPU)
        for _ in range(12):
            trainer.step = 0  # the same batch again
            losses.append(trainer.train_step()["mel"])
    assert min(losses[-3:]) < 0.8 * losses[0]


def test_a_checkpoint_of_another_size_is_refused(trainer: Trainer, recordings: list[Recording], tmp_path: Path) -> None:
    trainer.save(tmp_path / CHECKPOINT_FILE)
    with pytest.raises(CheckpointMismatchError, match="trained with channels 16, this run has 32: pass --channels 16"):
        Trainer.resume(tmp_path / CHECKPOINT_FILE, replace(PLAN, channels=32), recordings, CPU)


def test_the_learning_rate_rises_then_falls_and_the_end_may_move() -> None:
    plan = Plan(steps=1000, learning_rate=1.0, last_rate=0.1, warm_up_steps=100)
    assert plan.rate(0) == pytest.approx(0.01)
    assert plan.rate(99) == pytest.approx(0.98, abs=0.01)
    assert plan.rate(1000) == plan.rate(2000) == pytest.approx(0.1)
    assert replace(plan, steps=2000).rate(1000) == pytest.approx(0.55)
    assert [plan.adversarial(step) for step in (499, 500)] == [False, True]


def test_the_loss_log_forgets_what_is_taken_again(tmp_path: Path) -> None:
    log = LossLog(tmp_path / LOG_FILE, 0)
    for step in (10, 20, 30):
        log.add({"mel": step - 2.0})
        log.add({"mel": step + 2.0})
        log.write(step, step * 2.0, 1e-4)
    again = LossLog(tmp_path / LOG_FILE, 20)
    assert again.seconds == 40.0
    rows = (tmp_path / LOG_FILE).read_text().split()
    assert [row.split(",")[:4] for row in rows[1:]] == [["10", "20.0", "0.0001", "10"], ["20", "40.0", "0.0001", "20"]]


def test_export_round_trip(trainer: Trainer, corpus: Path, tmp_path: Path) -> None:
    log = LossLog(tmp_path / LOG_FILE, 0)
    log.add(trainer.train_step())
    log.write(1, 60.0, 1e-4)
    trainer.save(tmp_path / CHECKPOINT_FILE)
    export.export(tmp_path, corpus, tmp_path / "voices" / "demo", export.Remarks(figures="MCD 1.23 dB."))
    voice, generator = load_voice(tmp_path / "voices" / "demo")
    assert replace(voice, provenance={}) == replace(trainer.voice, name="demo")
    for name, mean in trainer.average.state_dict().items():
        assert torch.equal(generator.state_dict()[name], mean), name
    assert any(
        not torch.equal(a, b) for a, b in zip(generator.parameters(), trainer.generator.parameters(), strict=True)
    )
    recording = trainer.recordings[0]
    inputs = condition(recording.f0, recording.mcep, recording.bap, voice)
    waveform = generator(*(torch.from_numpy(values)[None] for values in inputs))
    assert waveform.shape == (1, 1, recording.frames * HOP)
    card = (tmp_path / "voices" / "demo" / "README.md").read_text()
    assert "$" not in card
    for words in ("16 channels", "1 minutes", "Attribution 3.0", "Apache", "MCD 1.23 dB.", "| song | 1 | 0.0 |"):
        assert words in card


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
    assert right.frames > 20
    assert right.log_f0 == pytest.approx(0.0, abs=0.02)
    assert wrong.log_f0 == pytest.approx(np.log(1.5 / 1.4), abs=0.02)
    assert right.level_db == pytest.approx(20.0 * np.log10(1.4), abs=0.5)
    assert judge_move(clip, plain, moved, 20.0, voice).frames == 0


def test_figures_pool_frames_and_show_the_worst() -> None:
    moves = [Move("heldout-1", 2.0, 300, 0.0, -1.0, 0.0), Move("vocadito", 2.0, 100, 0.2, -5.0, -3.0)]
    assert pooled_log_f0(moves) == pytest.approx(0.1)
    scores: dict[str, float | None] = {"mcd": 3.0, "log_f0": 0.05, "vuv": 4.0, "visqol": None, "loudness": -1.0}
    copies = {name: {"voice": scores, "WORLD": scores} for name in ("heldout-1", "vocadito")}
    tables = make_tables(copies, moves)
    assert "| 2 | 0.100 | 0.200 | -3.0 | -5.0 | -1.5 | -3.0 |" in tables
    assert "| vocadito (unseen singer): WORLD | 3.000 | 0.050 | 4.000 | - | -1.000 |" in tables


def test_the_last_layer_takes_smaller_steps(trainer: Trainer) -> None:
    trainer.train_step()
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    assert rates == pytest.approx([PLAN.rate(0), PLAN.rate(0) / 10.0])
    assert trainer.optimizer.param_groups[1]["params"] == list(trainer.generator.output_conv.parameters())

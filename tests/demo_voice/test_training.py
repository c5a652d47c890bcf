"""The demonstration voice's training, on toy sizes."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from preprocess import Voice
from preprocess.excitation import make_excitation
from preprocess.f0 import continuous_f0
from preprocess.noise import NOISE
from sifigan_triton.features.melcepstrum import mc2sp
from sifigan_triton.network.generator import Generator
from tests.demo_voice.toy import CPU, HOP, PLAN, RATE
from tests.small_voice import one_thread
from tools.train_demo_voice.dataset import (
    Recording,
    draw_batch,
)
from tools.train_demo_voice.journal import CHECKPOINT_FILE, LOG_FILE, LossLog
from tools.train_demo_voice.losses import PhaseLoss, ResidualLoss, SpectralLoss
from tools.train_demo_voice.plan import Plan
from tools.train_demo_voice.pulses import PulseLoss, excitation_noise, pulse_train
from tools.train_demo_voice.tones import ToneLoss
from tools.train_demo_voice.trainer import CheckpointMismatchError, SourceKeepingGenerator, Trainer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def weights_of(trainer: Trainer) -> list[torch.Tensor]:
    return [*trainer.generator.parameters(), *trainer.average.parameters(), *trainer.discriminators.parameters()]


def test_spectral_loss_is_zero_for_the_same_and_the_gain_in_nepers_for_a_gain() -> None:
    loss = SpectralLoss(RATE)
    noise = torch.from_numpy(np.random.default_rng(0).normal(0.0, 0.3, (2, 8192)).astype(np.float32))
    same, half = (loss(noise * gain, noise) for gain in (1.0, 0.5))
    assert {name: float(value) for name, value in same.items()} == dict.fromkeys(
        ("mel", "envelope", "log", "convergence"), 0.0
    )
    assert [float(half[name]) for name in ("mel", "envelope", "log")] == pytest.approx([np.log(2.0)] * 3, abs=0.01)
    assert float(half["convergence"]) == pytest.approx(0.5, abs=1e-3)


def test_phase_loss_is_zero_for_the_same_and_large_for_another_draw() -> None:
    loss = PhaseLoss()
    one, other = (0.1 * torch.randn(2, 8192, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    same, faint, mirrored, redrawn = (float(loss(w, one)) for w in (one, 0.5 * one, -one, other))
    assert same == 0.0
    assert faint == pytest.approx(1.0 - 0.5**0.3, abs=0.02)  # magnitudes count to the power of 0.3
    assert mirrored == pytest.approx(2.0, abs=1e-3)
    assert redrawn > 1.0


def test_residual_loss_knows_the_envelope_of_a_mel_cepstrum() -> None:
    loss = ResidualLoss(1, HOP, 0.466, 39)
    mcep = np.random.default_rng(0).normal(0.0, 0.3, (5, 40))
    log_power = torch.from_numpy(mcep.astype(np.float32)) @ loss.get_buffer("envelope")
    np.testing.assert_allclose(log_power.numpy(), np.log(mc2sp(mcep, 0.466, 1024)), atol=1e-4)


def test_residual_loss_vanishes_for_the_recording_itself_where_its_envelope_is_flat() -> None:
    loss = ResidualLoss(1, HOP, 0.466, 39)
    with torch.no_grad():
        loss.readout.weight.fill_(1.0)
        assert loss.readout.bias is not None
        loss.readout.bias.zero_()
    noise = torch.from_numpy(np.random.default_rng(0).normal(0.0, 0.3, (1, 24 * HOP)).astype(np.float32))
    distances = [float(loss(gain * noise[:, None], noise, torch.zeros(1, 24, 40)).detach()) for gain in (1.0, 2.0)]
    assert distances == pytest.approx([0.0, np.log(2.0)], abs=0.03)  # the floor under the logarithms takes some


def test_pulses_fall_where_the_sine_of_the_excitation_rises_through_zero(voice: Voice) -> None:
    f0 = np.geomspace(100.0, 300.0, 80).astype(np.float32)
    f0[40:50] = 0.0
    cf0 = continuous_f0(f0)
    pulses = pulse_train(f0, cf0.astype(np.float32), voice)
    frames = pulses.reshape(-1, HOP)
    assert not frames[40:50].any()
    assert (frames[f0 > 0.0] ** 2).mean() == pytest.approx(1.0, abs=0.05)
    sine = make_excitation(cf0, 0, replace(voice, noise_amp=0.0))
    rising = np.flatnonzero((sine[:-1] < 0.0) & (sine[1:] >= 0.0))
    peaks = np.flatnonzero(pulses > 0.3 * pulses.max())
    assert np.abs(peaks[:, None] - rising).min(axis=1).max() <= 1
    assert len(rising) - len(np.unique(np.abs(peaks[:, None] - rising).argmin(axis=1))) <= 12  # of the unvoiced part


@pytest.mark.parametrize("hz", [150.0, 0.0], ids=["voiced", "unvoiced"])
def test_noise_of_an_excitation(voice: Voice, hz: float) -> None:
    cf0 = np.full(60, hz, np.float32)
    excitation = make_excitation(cf0.astype(np.float64), 7, voice)
    noise = np.empty(60 * HOP, np.float32)
    NOISE.read(7, 0, noise)
    np.testing.assert_allclose(excitation_noise(cf0, excitation, voice), noise, atol=1e-3)


def test_pulse_loss_is_zero_for_the_target_and_one_for_silence(voice: Voice) -> None:
    loss = PulseLoss(1)
    with torch.no_grad():
        loss.readout.weight.fill_(1.0)
        assert loss.readout.bias is not None
        loss.readout.bias.zero_()
    f0 = np.full(24, 150.0, np.float32)
    target = torch.from_numpy(pulse_train(f0, f0, voice))[None]
    distances = [float(loss(gain * target[:, None], target).detach()) for gain in (1.0, 0.0)]
    assert distances == pytest.approx([0.0, 1.0], abs=1e-3)


def test_tone_loss_hears_what_repeats_from_frame_to_frame() -> None:
    loss = ToneLoss(HOP)
    one, other, pattern = (
        0.1 * torch.randn(2, length, generator=torch.Generator().manual_seed(seed))
        for seed, length in enumerate((96 * HOP, 96 * HOP, HOP))
    )
    tones = pattern.repeat(1, 96)
    same, redrawn, louder, toned, opposite, shared = (
        float(loss(made, real))
        for made, real in (
            (one, one),
            (other, one),
            (3.0 * other, one),
            (one + tones, one),
            (one + 30.0 * tones, one - 30.0 * tones),
            (one + tones, other + tones),
        )
    )
    assert same == 0.0
    assert redrawn == pytest.approx(1.06, abs=0.05)
    assert louder == pytest.approx(redrawn, abs=0.05)
    assert 1.9 < toned < math.log(25.0)
    assert opposite == pytest.approx(math.log(49.0), abs=0.02)
    assert shared < redrawn
    short = float(loss(one[:, : 10 * HOP], other[:, : 10 * HOP]))
    assert 0.7 < short < redrawn


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


def test_only_the_training_adds_noise_as_rounding_would(trainer: Trainer, recordings: list[Recording]) -> None:
    batch = draw_batch(recordings, trainer.voice, 1, 12, 0, 0)
    inputs = (batch.excitation, batch.features, batch.offsets)
    with torch.no_grad():
        noisy, again = (trainer.generator(*inputs) for _ in range(2))
        kept, served = trainer.synthesize(batch), Generator(trainer.voice.generator, trainer.voice.pd_indexing)
        served.load_state_dict(trainer.average.state_dict())
        assert torch.equal(kept, served(*inputs)[:, 0])
    assert 1e-4 < float((noisy - again).std() / again.std()) < 0.3
    for network, noise in ((trainer.generator, True), (trainer.average, False)):
        for layer in (*network.source_upsamples, *network.filter_upsamples):
            one = torch.ones(1, layer.weight.shape[0], 4)
            assert torch.equal(layer(one), layer(one)) is not noise


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
    assert {"mel", "residual", "pulse", "discriminator", "features"} <= losses.keys()
    assert all(torch.equal(a, b) for a, b in zip(weights_of(resumed), weights_of(trainer), strict=True))


def test_two_processes_share_each_step_of_one_training(
    trainer: Trainer, recordings: list[Recording], corpus: Path, tmp_path: Path
) -> None:
    options = "--channels 16 --steps 4 --batch-size 2 --frames 12 --threads 1 --set discriminator_channels=2"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tools.train_demo_voice.train", "--corpus", str(corpus), "--output", str(tmp_path)]
    subprocess.run([*command, *options.split()], check=True, cwd=ROOT, timeout=300)
    with (tmp_path / LOG_FILE).open() as log:
        assert [row["step"] for row in csv.DictReader(log)] == ["4"]
    shared = Trainer.resume(tmp_path / CHECKPOINT_FILE, PLAN, recordings, CPU)
    start = torch.nn.utils.parameters_to_vector(weights_of(trainer))
    for _ in range(PLAN.steps):
        trainer.train_step()
    mine, alone = (torch.nn.utils.parameters_to_vector(weights_of(one)) for one in (shared, trainer))
    assert torch.linalg.vector_norm(mine - alone) < 0.1 * torch.linalg.vector_norm(alone - start)


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


def test_any_part_of_the_plan_may_be_set() -> None:
    assert Plan().changed(["rounding=0.05", "steps=20"]) == Plan(rounding=0.05, steps=20)
    with pytest.raises(ValueError, match=r"setting 'tone=1': expected NAME=VALUE with one of channels, steps, .*clip"):
        Plan().changed(["tone=1"])
    with pytest.raises(ValueError, match="setting 'steps=many': expected NAME=VALUE with steps=10000 or such"):
        Plan().changed(["steps=many"])


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


def test_the_last_layer_takes_smaller_steps(trainer: Trainer) -> None:
    trainer.train_step()
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    assert rates == pytest.approx([PLAN.rate(0), PLAN.rate(0) / 10.0])
    assert trainer.optimizer.param_groups[1]["params"] == list(trainer.generator.output_conv.parameters())

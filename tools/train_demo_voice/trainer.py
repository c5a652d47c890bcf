"""One generator's training: its state, one step of it, and the file that it resumes from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from preprocess import Voice
from sifigan_triton.files import atomic_file
from sifigan_triton.network.generator import Generator
from sifigan_triton.voice.folder import random_voice
from tools.train_demo_voice.dataset import Batch, Recording, draw_batch
from tools.train_demo_voice.discriminators import Discriminators
from tools.train_demo_voice.losses import (
    PhaseLoss,
    ResidualLoss,
    SpectralLoss,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from tools.train_demo_voice.plan import Plan
from tools.train_demo_voice.pulses import PulseLoss
from tools.train_demo_voice.tones import ToneLoss
from tools.train_demo_voice.workers import Workers

ADAM_BETAS = (0.8, 0.99)

START_LEVEL = 0.1
"""Factor on the first weights of the last layer: `random_voice` is louder than speech at most frequencies."""


class CheckpointMismatchError(ValueError):
    """A checkpoint belongs to another training."""


LAST_LAYER_RATE = 0.1
"""Learning rate of the last layer, relative to the others: its weights are some fifty times as small as theirs."""


class SourceKeepingGenerator(Generator):
    """The generator, which also keeps what its source network yielded last."""

    source: Tensor

    def _tap(self, active: Tensor, index: Tensor, length: Tensor) -> Tensor:
        """Gather as `Generator` does (`reflect`), sample by sample: its gradient is then the faster one on a CPU."""
        rows = active.transpose(1, 2).flatten(0, 1)  # (B, C, L) -> (B * L, C)
        first = torch.arange(len(active), dtype=index.dtype, device=index.device)[:, None] * active.shape[-1]
        taps = rows.index_select(0, (index[:, 0] + first).flatten())
        return taps.reshape(len(active), -1, active.shape[1]).transpose(1, 2)

    def _source(self, hidden: Tensor, excitation: Tensor, offsets: Tensor) -> Tensor:
        self.source = super()._source(hidden, excitation, offsets)
        return self.source


class Trainer:
    """Generator, discriminators, optimisers and the running mean of the weights."""

    def __init__(self, voice: Voice, plan: Plan, recordings: Sequence[Recording], device: torch.device) -> None:
        """Start a training.

        Args:
            voice: constants of the voice.
            plan: what to do.
            recordings: the corpus.
            device: where to compute.

        """
        self.voice, self.plan, self.recordings, self.device = voice, plan, recordings, device
        self.workers = Workers(device)
        self.step = 0
        _, start = random_voice(channels=plan.channels, seed=plan.seed)  # weights that keep the signal's variance
        torch.manual_seed(plan.seed)
        self.generator = SourceKeepingGenerator(voice.generator, voice.pd_indexing).to(device)
        start.output_conv.weight.mul_(START_LEVEL)
        self.generator.load_state_dict(start.state_dict())
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self._noise = torch.Generator()
        for upsample in {*self.generator.source_upsamples, *self.generator.filter_upsamples}:
            upsample.register_forward_hook(self._round)
        settings = voice.analysis
        source_channels = voice.generator.channels >> len(voice.generator.upsample_scales)
        self.spectral = SpectralLoss(voice.sample_rate).to(device)
        self.phase = PhaseLoss().to(device)
        self.residual = ResidualLoss(source_channels, voice.hop_size, settings.all_pass_alpha, settings.mcep_order).to(
            device
        )
        self.pulses = PulseLoss(source_channels).to(device)
        self.tones = ToneLoss(voice.hop_size).to(device)
        self.discriminators = Discriminators(plan.discriminator_channels).to(device)
        last = list(self.generator.output_conv.parameters())
        rest = [p for name, p in self.generator.named_parameters() if not name.startswith("output_conv.")]
        self.optimizer = self._adam([*rest, *self.residual.parameters(), *self.pulses.parameters()], last)
        self.discriminator_optimizer = self._adam(list(self.discriminators.parameters()), [])

    def _round(self, layer: nn.Module, _: Any, output: Tensor) -> Tensor:
        """Add noise in the training, as rounding would; the same for all segments of a batch, whoever computes them.

        Without F0 the excitation is noise at a thousandth of full scale, beside large slow values out of the features.
        A network that lets them drown it and separates the two again later amplifies the rounding errors of both.
        """
        noise = torch.randn(output.shape[1:], generator=self._noise).to(output.device)
        return output + self.plan.rounding * output.detach() * noise

    def _adam(self, parameters: list[nn.Parameter], last: list[nn.Parameter]) -> torch.optim.AdamW:
        """Make an optimiser, with smaller steps for the `last` layer."""
        groups: list[dict[str, Any]] = [
            {"params": some, "scale": scale} for some, scale in ((parameters, 1.0), (last, LAST_LAYER_RATE)) if some
        ]
        return torch.optim.AdamW(groups, self.plan.learning_rate, betas=ADAM_BETAS, weight_decay=0.0)

    @property
    def _modules(self) -> dict[str, Any]:
        """All that a checkpoint holds the state of."""
        return {
            "generator": self.generator,
            "average": self.average,
            "residual": self.residual,
            "pulses": self.pulses,
            "discriminators": self.discriminators,
            "optimizer": self.optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def train_step(self) -> dict[str, float]:
        """Take one step.

        Returns:
            The losses by name.

        """
        plan, step = self.plan, self.step
        for optimizer in (self.optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step) * group["scale"]
        part = slice(self.workers.rank, None, self.workers.size)
        batch = draw_batch(self.recordings, self.voice, plan.batch_size, plan.frames, plan.seed, step, part)
        batch = batch.to(self.device)
        self._noise.manual_seed(plan.seed + step)
        output = self.generator(batch.excitation, batch.features, batch.offsets)
        losses: dict[str, Tensor] = self.spectral(output[:, 0], batch.target)
        losses["phase"] = self.phase(output[:, 0], batch.target)
        losses["residual"] = self.residual(self.generator.source, batch.target, batch.mcep)
        losses["pulse"] = self.pulses(self.generator.source, batch.source)
        losses["tone"] = self.tones(output[:, 0], batch.target)
        total = torch.stack([getattr(plan, f"{name}_weight") * loss for name, loss in losses.items()]).sum()
        if plan.adversarial(step):
            more, judged = self._adversarial(output, batch)
            losses |= judged
            total = total + more
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.workers.average_gradients(p for group in self.optimizer.param_groups for p in group["params"])
        groups = [group["params"] for group in self.optimizer.param_groups]  # the last layer's gradient is the largest
        norm, _ = (nn.utils.clip_grad_norm_(parameters, plan.clip) for parameters in groups)
        self.optimizer.step()
        self._update_average()
        self.step += 1
        return {name: float(loss.detach()) for name, loss in losses.items()} | {"gradient": float(norm)}

    def _adversarial(self, output: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Let the discriminators learn, then judge: the weighted loss for the generator, and the parts of it."""
        real, fake = batch.target, output[:, 0]
        self.discriminators.requires_grad_(True)
        real_scores, real_layers = self.discriminators(real)
        lesson = discriminator_loss(real_scores, self.discriminators(fake.detach())[0])
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        lesson.backward()  # type: ignore[no-untyped-call]
        self.workers.average_gradients(self.discriminators.parameters())
        self.discriminator_optimizer.step()
        self.discriminators.requires_grad_(False)
        scores, fake_layers = self.discriminators(fake)
        adversarial, features = adversarial_loss(scores), feature_loss(real_layers, fake_layers)
        more = self.plan.adversarial_weight * adversarial + self.plan.feature_weight * features
        return more, {"discriminator": lesson, "adversarial": adversarial, "features": features}

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.plan.average, (self.step + 1) / (self.step + 10))
        means: list[Tensor] = list(self.average.parameters())
        now: list[Tensor] = list(self.generator.parameters())
        torch._foreach_lerp_(means, now, 1.0 - decay)

    @torch.no_grad()
    def synthesize(self, batch: Batch) -> Tensor:
        """Run the averaged generator: (B, L)."""
        batch = batch.to(self.device)
        waveform: Tensor = self.average(batch.excitation, batch.features, batch.offsets)[:, 0]
        return waveform

    def save(self, path: Path) -> None:
        """Write a checkpoint, which appears whole or not at all."""
        state = {name: module.state_dict() for name, module in self._modules.items()}
        state |= {"step": self.step, "plan": asdict(self.plan), "voice": self.voice.to_json()}
        state["random"] = torch.get_rng_state()
        with atomic_file(path) as file:
            torch.save(state, file)

    @classmethod
    def resume(cls, path: Path, plan: Plan, recordings: Sequence[Recording], device: torch.device) -> Trainer:
        """Go on from a checkpoint.

        Args:
            path: the checkpoint; nothing in it is executed.
            plan: what to do; all but the number of channels and the seed may differ from before.
            recordings: the corpus; the voice keeps the statistics that it was begun with.
            device: where to compute.

        Raises:
            CheckpointMismatchError: if the checkpoint has other channels or another seed.

        """
        state = torch.load(path, map_location=device, weights_only=True)
        for key in ("channels", "seed"):
            got, expected = state["plan"][key], getattr(plan, key)
            if got != expected:
                raise CheckpointMismatchError(
                    f"{path} was trained with {key} {got}, this run has {expected}: "
                    f"pass --{key} {got} or another --output"
                )
        trainer = cls(Voice.from_json(state["voice"]), plan, recordings, device)
        for name, module in trainer._modules.items():
            module.load_state_dict(state[name])
        trainer.step = state["step"]
        torch.set_rng_state(state["random"].cpu())
        return trainer

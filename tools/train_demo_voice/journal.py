"""What a training leaves behind while it runs: losses, pictures, checkpoints."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from tools.train_demo_voice.dataset import Batch, Recording, collate, cut
from tools.train_demo_voice.pictures import save_pictures
from tools.train_demo_voice.trainer import Trainer

CHECKPOINT_FILE, LOG_FILE = "checkpoint.pt", "losses.csv"
COLUMNS = (
    "step", "seconds", "rate", "mel", "envelope", "log", "convergence", "phase", "residual", "pulse", "tone",
    "discriminator", "adversarial", "features", "gradient",
    "heldout_mel", "heldout_envelope", "heldout_log", "heldout_convergence",
)  # fmt: skip
HELD_OUT_CLIPS, HELD_OUT_FRAMES = 5, 500


class LossLog:
    """A CSV file of losses: means over some steps a row."""

    def __init__(self, path: Path, step: int) -> None:
        """Open the file and drop rows beyond `step`, which a resumed training takes again."""
        self._path, self._sums, self._count = path, dict[str, float](), 0
        rows = []
        if path.exists():
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        self.seconds = float(rows[-1]["seconds"]) if rows else 0.0
        """Seconds of training that the file accounts for."""

    def add(self, losses: dict[str, float]) -> None:
        """Take in the losses of one step."""
        for name, loss in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + loss
        self._count += 1

    def write(self, step: int, seconds: float, rate: float, more: dict[str, float] | None = None) -> None:
        """Append a row of means."""
        row: dict[str, object] = {"step": step, "seconds": f"{seconds:.1f}", "rate": f"{rate:.3g}"}
        values = {name: total / max(1, self._count) for name, total in self._sums.items()} | (more or {})
        row |= {name: f"{value:.5g}" for name, value in values.items()}
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)
        self._sums.clear()
        self._count = 0


class HeldOut:
    """Some held-out clips, for the pictures and the held-out loss."""

    def __init__(self, recordings: Sequence[Recording], trainer: Trainer) -> None:
        """Take the first clips."""
        clips = [cut(recording, 0, min(HELD_OUT_FRAMES, recording.frames)) for recording in recordings[:HELD_OUT_CLIPS]]
        self._names = [clip.name for clip in clips]
        self._batches: list[Batch] = [collate([clip], [0.0], [0], trainer.voice) for clip in clips]
        self._trainer = trainer

    @torch.no_grad()
    def judge(self, folder: Path) -> dict[str, float]:
        """Synthesise the clips, write their spectrograms and return the mean losses."""
        trainer = self._trainer
        made = [trainer.synthesize(batch) for batch in self._batches]
        targets = [batch.target.to(trainer.device) for batch in self._batches]
        losses = [trainer.spectral(m, t) for m, t in zip(made, targets, strict=True)]
        save_pictures(
            folder / f"step{trainer.step:06d}.png",
            self._names,
            [t[0].cpu().numpy() for t in targets],
            [m[0].cpu().numpy() for m in made],
            trainer.voice.sample_rate,
        )
        return {f"heldout_{name}": sum(float(loss[name]) for loss in losses) / len(losses) for name in losses[0]}


class Journal:
    """Progress bar, loss log, pictures and checkpoints of one training."""

    def __init__(
        self, trainer: Trainer, held_out: HeldOut, folder: Path, log_every: int, picture_every: int, save_minutes: float
    ) -> None:
        """Open the log and show the bar.

        Args:
            trainer: the training.
            held_out: clips for pictures and held-out losses.
            folder: where everything goes.
            log_every: steps between rows of the log.
            picture_every: steps between pictures.
            save_minutes: minutes between checkpoints.

        """
        self._trainer, self._held_out, self._folder = trainer, held_out, folder
        self._log_every, self._picture_every, self._save_seconds = log_every, picture_every, 60.0 * save_minutes
        self._log = LossLog(folder / LOG_FILE, trainer.step)
        self._began = self._saved = time.monotonic()
        self._before = self._log.seconds
        self._bar = tqdm(total=trainer.plan.steps, initial=trainer.step, unit="step", mininterval=10.0)

    def note(self, losses: dict[str, float]) -> None:
        """Take in one step, and write what is due."""
        trainer, now = self._trainer, time.monotonic()
        step, rate = trainer.step, trainer.plan.rate(trainer.step)
        self._log.add(losses)
        self._bar.update()
        self._bar.set_postfix(mel=f"{losses['mel']:.3f}", refresh=False)
        seconds = self._before + now - self._began
        if step % self._picture_every == 0 or step == trainer.plan.steps:
            self._log.write(step, seconds, rate, self._held_out.judge(self._folder))
        elif step % self._log_every == 0:
            self._log.write(step, seconds, rate)
        if now - self._saved > self._save_seconds:
            self._trainer.save(self._folder / CHECKPOINT_FILE)
            self._saved = now

    def close(self) -> None:
        """Save a last checkpoint."""
        self._trainer.save(self._folder / CHECKPOINT_FILE)
        self._bar.close()

"""Train the demonstration voice.

    python -m tools.train_demo_voice.train --corpus corpus --output run --channels 128 --steps 10000

Run again with the same `--output` it goes on from the last checkpoint; `--steps` may differ. SIGINT and SIGTERM save
first.
"""

from __future__ import annotations

import argparse
import csv
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import torch
from tqdm import tqdm

from tools.train_demo_voice.dataset import Batch, Recording, collate, cut, load_recordings, make_voice
from tools.train_demo_voice.pictures import save_pictures
from tools.train_demo_voice.trainer import Plan, Trainer

CHECKPOINT_FILE, LOG_FILE = "checkpoint.pt", "losses.csv"
COLUMNS = (
    "step", "seconds", "rate", "mel", "log", "convergence", "residual", "discriminator", "adversarial", "features",
    "gradient", "heldout_mel", "heldout_log", "heldout_convergence",
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
        targets = [batch.target[:, 0].to(trainer.device) for batch in self._batches]
        losses = [trainer.spectral(m, t) for m, t in zip(made, targets, strict=True)]
        save_pictures(
            folder / f"step{trainer.step:06d}.png",
            self._names,
            [t[0].cpu().numpy() for t in targets],
            [m[0].cpu().numpy() for m in made],
            trainer.voice.sample_rate,
        )
        return {f"heldout_{name}": sum(float(loss[name]) for loss in losses) / len(losses) for name in losses[0]}


def run(trainer: Trainer, held_out: HeldOut, folder: Path, arguments: argparse.Namespace) -> None:
    """Train to the end of the plan, or until a signal asks to stop."""
    stop: list[int] = []

    def ask_to_stop(number: int, _: FrameType | None) -> None:
        stop.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    log = LossLog(folder / LOG_FILE, trainer.step)
    began = saved = time.monotonic()
    before = log.seconds
    plan = trainer.plan
    with tqdm(total=plan.steps, initial=trainer.step, unit="step", mininterval=10.0) as bar:
        while trainer.step < plan.steps and not stop:
            losses = trainer.train_step()
            log.add(losses)
            bar.update()
            bar.set_postfix(mel=f"{losses['mel']:.3f}", refresh=False)
            now = time.monotonic()
            seconds = before + now - began
            if trainer.step % arguments.picture_every == 0 or trainer.step == plan.steps:
                log.write(trainer.step, seconds, plan.rate(trainer.step), held_out.judge(folder))
            elif trainer.step % arguments.log_every == 0:
                log.write(trainer.step, seconds, plan.rate(trainer.step))
            if now - saved > arguments.checkpoint_minutes * 60.0:
                trainer.save(folder / CHECKPOINT_FILE)
                saved = now
    trainer.save(folder / CHECKPOINT_FILE)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    plan = Plan()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder that corpus.py made")
    parser.add_argument("--output", type=Path, required=True, help="folder of checkpoint, losses and pictures")
    parser.add_argument("--channels", type=int, default=plan.channels, help="128 for a CPU, 512 for a GPU")
    parser.add_argument("--steps", type=int, default=plan.steps, help="steps in all, also when resuming")
    parser.add_argument("--batch-size", type=int, default=plan.batch_size)
    parser.add_argument("--frames", type=int, default=plan.frames, help="frames of a segment")
    parser.add_argument("--learning-rate", type=float, default=plan.learning_rate)
    parser.add_argument("--adversarial-from", type=float, default=plan.adversarial_from, help="part of --steps")
    parser.add_argument("--discriminator-channels", type=int, default=plan.discriminator_channels)
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0 leaves PyTorch's default")
    parser.add_argument("--log-every", type=int, default=20, help="steps")
    parser.add_argument("--picture-every", type=int, default=500, help="steps")
    parser.add_argument("--checkpoint-minutes", type=float, default=3.0)
    return parser.parse_args()


def main() -> None:
    """Start or resume a training."""
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    names = ("channels", "steps", "batch_size", "frames", "learning_rate", "adversarial_from", "discriminator_channels")
    plan = Plan(seed=arguments.seed, **{name: getattr(arguments, name) for name in names})
    torch.set_flush_denormal(True)
    device = torch.device(arguments.device)
    recordings = load_recordings(arguments.corpus, "train")
    arguments.output.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.output / CHECKPOINT_FILE
    if checkpoint.exists():
        trainer = Trainer.resume(checkpoint, plan, recordings, device)
    else:
        trainer = Trainer(make_voice(recordings, plan.channels), plan, recordings, device)
    minutes = sum(recording.frames for recording in recordings) * trainer.voice.frame_period_ms / 60000.0
    print(f"{len(recordings)} utterances, {minutes:.1f} minutes; from step {trainer.step} to {plan.steps}")
    held_out = HeldOut(load_recordings(arguments.corpus, "heldout"), trainer)
    run(trainer, held_out, arguments.output, arguments)


if __name__ == "__main__":
    main()

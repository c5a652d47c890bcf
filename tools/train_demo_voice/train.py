"""Train the demonstration voice.

    python -m tools.train_demo_voice.train --corpus corpus --output run --channels 128 --steps 10000
    torchrun --nproc-per-node 2 -m tools.train_demo_voice.train ...        # the same training, each step shared by two

Run again with the same `--output` it goes on from the last checkpoint; `--steps` may differ. SIGINT and SIGTERM save
first.
"""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from types import FrameType

import torch

from tools.train_demo_voice.dataset import load_recordings, make_voice
from tools.train_demo_voice.journal import CHECKPOINT_FILE, HeldOut, Journal
from tools.train_demo_voice.plan import Plan
from tools.train_demo_voice.trainer import Trainer


def run(trainer: Trainer, journal: Journal | None) -> bool:
    """Train to the end of the plan, or until a signal asks to stop.

    Args:
        trainer: the training.
        journal: what it leaves behind, for the first process.

    Returns:
        Whether the end of the plan was reached.

    """
    stop: list[int] = []

    def ask_to_stop(number: int, _: FrameType | None) -> None:
        stop.append(number)

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    while trainer.step < trainer.plan.steps and not trainer.workers.any(bool(stop)):
        losses = trainer.train_step()
        if journal is not None:
            journal.note(losses)
    if journal is not None:
        journal.close()
    trainer.workers.close()
    for number, handler in before.items():
        signal.signal(number, handler)
    return trainer.step >= trainer.plan.steps


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
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
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="anything else that plan.py has: rounding=0.05"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0 leaves PyTorch's default")
    parser.add_argument("--log-every", type=int, default=20, help="steps")
    parser.add_argument("--picture-every", type=int, default=500, help="steps")
    parser.add_argument("--checkpoint-minutes", type=float, default=3.0)
    args = parser.parse_args(arguments)
    names = ("channels", "steps", "batch_size", "frames", "learning_rate", "adversarial_from", "discriminator_channels")
    plan = Plan(seed=args.seed, **{name: getattr(args, name) for name in names})
    try:
        args.plan = plan.changed(args.set)
    except ValueError as error:
        parser.error(str(error))
    return args


def main(arguments: list[str] | None = None) -> bool:
    """Start or resume a training; returns whether it came to its end."""
    args = parse_arguments(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    plan = args.plan
    torch.set_flush_denormal(True)
    device = torch.device(args.device)
    recordings = load_recordings(args.corpus, "train")
    args.output.mkdir(parents=True, exist_ok=True)
    checkpoint = args.output / CHECKPOINT_FILE
    if checkpoint.exists():
        trainer = Trainer.resume(checkpoint, plan, recordings, device)
    else:
        trainer = Trainer(make_voice(recordings, plan.channels), plan, recordings, device)
    if trainer.step >= plan.steps:
        return True
    journal = None
    if trainer.workers.rank == 0:
        minutes = sum(recording.frames for recording in recordings) * trainer.voice.frame_period_ms / 60000.0
        print(f"{len(recordings)} utterances, {minutes:.1f} minutes; from step {trainer.step} to {plan.steps}")
        held_out = HeldOut(load_recordings(args.corpus, "heldout"), trainer)
        every = args.log_every, args.picture_every, args.checkpoint_minutes
        journal = Journal(trainer, held_out, args.output, *every)
    return run(trainer, journal)


if __name__ == "__main__":
    main()

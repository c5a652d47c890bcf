"""Make a demonstration voice: corpus, training, export and evaluation, in this order.

    python -m tools.train_demo_voice --output out/demo
    python -m tools.train_demo_voice --output out/demo -- --steps 50500 --set log_weight=8    # options of train.py

Stop it with Ctrl-C at any time: the same command goes on where it was. How long, on two cores of an AMD EPYC (Zen 3):

    stage       writes           takes
    corpus      OUTPUT/corpus    28 minutes: 480 utterances, 44 minutes of audio
    training    OUTPUT/run       0.6 s a step, twice that where the discriminators take part: some 2.5 hours for the
                                 10,000 steps of the defaults; the shipped voice took 493 minutes for 50,500
    export      OUTPUT/demo      seconds
    evaluation  OUTPUT/figures   minutes; the figures then go into the voice's card

With --toy three buzzes stand for the corpus and everything takes seconds: the voice is useless, the way is the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.train_demo_voice import corpus, evaluate, export, toy, train
from tools.train_demo_voice.journal import CHECKPOINT_FILE


def make_corpus(folder: Path, items: int, buzzes: bool) -> None:
    """Make what is missing of the corpus."""
    if not buzzes:
        corpus.main(["--output", str(folder), "--items", str(items)])
    elif not folder.exists():
        toy.make_toy_corpus(folder)


def make_figures(voice: Path, run: Path, corpus_folder: Path, output: Path, recordings: Path) -> None:
    """Measure the voice, unless that was done since the last step of the training."""
    done = output / evaluate.FIGURES_FILE
    if done.exists() and done.stat().st_mtime > (run / CHECKPOINT_FILE).stat().st_mtime:
        return
    folders = ("--voice", voice, "--corpus", corpus_folder, "--output", output, "--recordings", recordings)
    evaluate.main([str(argument) for argument in folders])


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.train_demo_voice",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of everything that is made")
    parser.add_argument("--items", type=int, default=480, help="utterances of the corpus (default 480)")
    parser.add_argument("--toy", action="store_true", help="seconds instead of hours, a useless voice")
    parser.add_argument("training", nargs="*", metavar="-- OPTIONS", help="options of train.py, behind --")
    return parser.parse_args(arguments)


def make_voice(args: argparse.Namespace) -> bool:
    """Run all stages; returns False if the training was asked to stop."""
    folders = {name: args.output / name for name in ("corpus", "run", "demo", "figures")}
    sources = ["--run", str(folders["run"]), "--corpus", str(folders["corpus"]), "--output", str(folders["demo"])]
    print("== corpus")
    make_corpus(folders["corpus"], args.items, args.toy)
    print("== training")
    options = [*(toy.TRAINING if args.toy else ()), "--threads", "1", *args.training]
    if not train.main(["--corpus", str(folders["corpus"]), "--output", str(folders["run"]), *options]):
        return False
    print("== export")
    export.main(sources)
    print("== evaluation")
    recordings = folders["corpus"] if args.toy else Path("measurement_data")
    make_figures(folders["demo"], folders["run"], folders["corpus"], folders["figures"], recordings)
    export.main([*sources, "--remarks", str(folders["figures"])])
    return True


def main(arguments: list[str] | None = None) -> int:
    """Make the voice; returns the exit status."""
    args = parse_arguments(arguments)
    try:
        if make_voice(args):
            return 0
    except KeyboardInterrupt:
        pass
    print("stopped: the same command goes on from here", file=sys.stderr)
    return 130


if __name__ == "__main__":
    sys.exit(main())

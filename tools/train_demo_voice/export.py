"""Write a voice folder from a checkpoint; the training may go on meanwhile.

python -m tools.train_demo_voice.export --run run --corpus corpus --output voices/demo
python -m tools.train_demo_voice.export ... --earlier step50500.pt --earlier-share 0.3      # a mean over more steps
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch

from preprocess import Voice
from sifigan_triton.network.generator import Generator
from sifigan_triton.voice.folder import WEIGHTS_FILE, save_voice
from tools.train_demo_voice.corpus import HOP_SIZE, SAMPLE_RATE
from tools.train_demo_voice.journal import CHECKPOINT_FILE, LOG_FILE

CARD_TEMPLATE = Path(__file__).with_name("card.md")
PICTURE_FILE = "spectrograms.png"

LICENSES = (
    "hibari-tts 0.2.1 (Apache-2.0); Sinsy voice nitech_jp_song070_f001 (CC BY 3.0, Nagoya Institute of Technology)"
)


@dataclass(frozen=True)
class Trained:
    """What a checkpoint holds for an export."""

    voice: Voice
    generator: Generator
    """The running mean of the weights, or the mean of two such means."""
    weights: str
    """Which weights they are, in words."""
    step: int
    plan: dict[str, Any]
    """What `plan.Plan` held, by name."""
    seconds: float
    """Seconds of training."""


@dataclass(frozen=True)
class Remarks:
    """What the card says beside what the checkpoint and the corpus hold: Markdown."""

    hardware: str = "one CPU thread"
    heard: str = "Nobody has listened yet."
    """What it sounds like, and what is wrong with it."""
    figures: str = "Not measured yet."
    """The quality that was measured."""
    history: str = "It is one run of that recipe."
    """How the training differed from the recipe."""

    def read(self, folder: Path) -> Remarks:
        """Return the remarks with those of `heard.md`, `figures.md` and `history.md` that the folder holds.

        Where it holds a picture, as `evaluate.py` draws it, the figures end with that; it has to lie beside the card.
        """
        files = {name: folder / f"{name}.md" for name in ("heard", "figures", "history")}
        texts = {name: file.read_text(encoding="utf-8").strip() for name, file in files.items() if file.exists()}
        if (folder / PICTURE_FILE).exists():
            texts["figures"] = f"{texts.get('figures', self.figures)}\n\n![spectrograms]({PICTURE_FILE})"
        return replace(self, **texts)


@dataclass(frozen=True)
class Earlier:
    """An earlier checkpoint of the same training, whose running mean takes part in the export."""

    checkpoint: Path
    share: float
    """From 0, only the run's own, to 1, only this one."""

    def mixed_into(self, state: Mapping[str, Any]) -> str:
        """Average `state["average"]` with this one, in place, and return which weights they are now, in words.

        Raises:
            ValueError: naming the checkpoint, if it is of another training, or the share, if it is none.

        """
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"share of {self.checkpoint}: expected 0 to 1, got {self.share:g}")
        before = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        if before["voice"] != state["voice"]:
            raise ValueError(
                f"{self.checkpoint}: its voice is not the run's: take an earlier checkpoint of the same training"
            )
        for name, mean in state["average"].items():
            mean.lerp_(before["average"][name], self.share)
        return f"{1.0 - self.share:g} of {running_mean(state)} and {self.share:g} of that of step {before['step']:,}"


def running_mean(state: Mapping[str, Any]) -> str:
    """Name the running mean of a checkpoint's weights."""
    return f"the running mean ({state['plan']['average']:g}) of the training's"


def load_trained(run: Path, earlier: Earlier | None = None) -> Trained:
    """Read the checkpoint of a training, and an earlier one; nothing in them is executed."""
    state = torch.load(run / CHECKPOINT_FILE, map_location="cpu", weights_only=True)
    voice = Voice.from_json(state["voice"])
    generator = Generator(voice.generator, voice.pd_indexing)
    weights = running_mean(state) if earlier is None else earlier.mixed_into(state)
    generator.load_state_dict(state["average"])
    rows = (run / LOG_FILE).read_text(encoding="utf-8").split()[1:]
    seconds = [float(row.split(",")[1]) for row in rows if int(row.split(",")[0]) <= state["step"]]
    generator.eval().requires_grad_(False)
    return Trained(voice, generator, weights, state["step"], state["plan"], max(seconds, default=0.0))


def describe_corpus(folder: Path) -> str:
    """Count the corpus: a line of Markdown for each kind of training utterance, and one for those held out."""
    minutes: defaultdict[str, float] = defaultdict(float)
    count: Counter[str] = Counter()
    for path in sorted(folder.glob("*-*-*.npz")):
        part, _, kind = path.stem.split("-")
        key = kind if part == "train" else "held out (of every kind)"
        with np.load(path, allow_pickle=False) as data:
            minutes[key] += len(data["f0"]) * HOP_SIZE / SAMPLE_RATE / 60.0
        count[key] += 1
    return "\n".join(f"| {kind} | {count[kind]} | {minutes[kind]:.1f} |" for kind in sorted(count))


def describe_discriminators(plan: Mapping[str, float], step: int) -> str:
    """Return the discriminators' rows of the card's table of losses: nothing where they never set in."""
    first = int(plan["adversarial_from"] * plan["steps"])
    if first >= step:
        return ""
    return (
        f"| least-squares discriminators of five periods and three resolutions, from step {first:,} on | "
        f"{plan['adversarial_weight']:g} |\n| their feature matching | {plan['feature_weight']:g} |\n"
    )


def make_card(trained: Trained, corpus: str, remarks: Remarks) -> str:
    """Fill in the voice's card.

    Args:
        trained: what was trained.
        corpus: rows of the table of the corpus.
        remarks: what neither of them knows.

    """
    parameters = sum(parameter.numel() for parameter in trained.generator.parameters())
    plan = trained.plan
    return Template(CARD_TEMPLATE.read_text(encoding="utf-8")).substitute(
        {name: f"{value:g}" for name, value in plan.items()},
        parameters=f"{parameters:,}",
        step=f"{trained.step:,}",
        weights=trained.weights,
        batch_frames=plan["batch_size"] * plan["frames"],
        discriminators=describe_discriminators(plan, trained.step),
        minutes=f"{trained.seconds / 60.0:.0f}",
        corpus=corpus,
        **asdict(remarks),
    )


def export(run: Path, corpus: Path, output: Path, remarks: Remarks, earlier: Earlier | None = None) -> Trained:
    """Write the voice folder of a training's last checkpoint."""
    trained = load_trained(run, earlier)
    provenance = {
        "weights": f"tools/train_demo_voice, step {trained.step} of {trained.plan['steps']}: {trained.weights}",
        "corpus": LICENSES,
    }
    voice = replace(trained.voice, name=output.name, provenance=provenance)
    save_voice(output, voice, trained.generator, make_card(trained, describe_corpus(corpus), remarks))
    return trained


def main(arguments: list[str] | None = None) -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of the training (its --output)")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--output", type=Path, required=True, help="folder of the voice; its name is the voice's")
    parser.add_argument(
        "--earlier", type=Path, help="an earlier checkpoint of the training, to be averaged with the last"
    )
    parser.add_argument("--earlier-share", type=float, default=0.5, help="its weight, 0 to 1")
    parser.add_argument(
        "--remarks",
        type=Path,
        help="folder with figures.md (as evaluate.py writes it), heard.md or history.md, for the card",
    )
    parser.add_argument("--hardware", default=Remarks.hardware, help="what it was trained on, for the card")
    args = parser.parse_args(arguments)
    remarks = Remarks(args.hardware)
    if args.remarks:
        remarks = remarks.read(args.remarks)
    earlier = Earlier(args.earlier, args.earlier_share) if args.earlier else None
    try:
        trained = export(args.run, args.corpus, args.output, remarks, earlier)
    except ValueError as error:
        parser.error(str(error))
    if args.remarks and (args.remarks / PICTURE_FILE).exists():
        shutil.copyfile(args.remarks / PICTURE_FILE, args.output / PICTURE_FILE)
    size = (args.output / WEIGHTS_FILE).stat().st_size / 1e6
    print(f"{args.output}: step {trained.step} of {trained.plan['steps']}, {size:.1f} MB of weights")


if __name__ == "__main__":
    main()

"""Measure a voice: copy synthesis of held-out utterances and of recordings of unseen singers, and pitch moves.

    python -m tools.train_demo_voice.evaluate --voice voices/demo --corpus corpus --output figures

Writes `figures.md` (for the card: `export.py --remarks`), `figures.json` and `spectrograms.png`. With `--server
HOST:PORT` a running Triton server synthesises instead of the full-length PyTorch generator.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from preprocess import Voice, condition
from sifigan_triton.client import SifiganClient
from sifigan_triton.features.features import Features
from sifigan_triton.files import atomic_file
from sifigan_triton.network.generator import Generator
from sifigan_triton.quality.comparison import compare
from sifigan_triton.quality.method import Method
from sifigan_triton.quality.pair import Pair
from sifigan_triton.voice.folder import load_voice
from tools.train_demo_voice.clips import Clip, held_out_clips, recorded_clip
from tools.train_demo_voice.measures import world_resynthesis
from tools.train_demo_voice.moves import FACTORS, Move, judge_move, move_table
from tools.train_demo_voice.pictures import save_pictures

FIGURES_FILE = "figures.md"
METRICS = ("mcd", "log_f0", "vuv", "visqol", "loudness")
HEADINGS = ("MCD dB", "log-F0 RMSE", "V/UV %", "ViSQOL", "loudness LU")

FloatArray = npt.NDArray[np.float64]
Synthesizer = Callable[[Features, float], FloatArray]


def local_synthesizer(voice: Voice, generator: Generator) -> Synthesizer:
    """Synthesise with the full-length generator."""

    @torch.no_grad()
    def synthesize(features: Features, factor: float) -> FloatArray:
        inputs = condition(features.f0, features.mcep, features.bap, voice, factor)
        waveform = generator(*(torch.from_numpy(values)[None] for values in inputs))
        return np.asarray(waveform[0, 0].numpy(), np.float64)

    return synthesize


def served_synthesizer(url: str) -> Synthesizer:
    """Synthesise with a running server."""
    client = SifiganClient(url)

    def synthesize(features: Features, factor: float) -> FloatArray:
        return client.synthesize(features.f0, features.mcep, features.bap, factor).astype(np.float64)

    return synthesize


def copy_synthesis(clip: Clip, made: FloatArray, voice: Voice) -> dict[str, dict[str, float | None]]:
    """Compare the voice's and WORLD's resynthesis with the recording."""
    method = Method("recording", voice.analysis)
    contour = method.f0(clip.waveform)
    results = {}
    for what, waveform in (("voice", made), ("WORLD", world_resynthesis(clip.features, voice))):
        scores = compare(Pair(clip.name, None, clip.waveform, waveform), method, contour)
        results[what] = {name: scores.values[name] for name in METRICS}
    return results


def measure(
    clip: Clip, plain: FloatArray, moved: Mapping[float, FloatArray], voice: Voice
) -> tuple[dict[str, dict[str, float | None]], list[Move]]:
    """Measure all that was made of one utterance: copy synthesis, and the pitch moves by factor."""
    moves = [judge_move(clip, plain, waveform, factor, voice) for factor, waveform in moved.items()]
    return copy_synthesis(clip, plain, voice), moves


def mean_row(name: str, rows: Sequence[dict[str, float | None]]) -> str:
    """Return a row of the table of copy synthesis: the means."""
    cells = []
    for metric in METRICS:
        values = [value for row in rows if (value := row[metric]) is not None]
        cells.append(f"{np.mean(values):.3f}" if values else "-")
    return f"| {name} | {' | '.join(cells)} |"


def make_tables(copies: dict[str, dict[str, dict[str, float | None]]], moves: Sequence[Move]) -> str:
    """Return the figures as Markdown."""
    held_out = [name for name in copies if name.startswith("heldout-")]
    groups = {f"{len(held_out)} held-out utterances, mean": held_out}
    groups |= {f"{name} (unseen singer)": [name] for name in copies if name not in held_out}
    lines = ["Copy synthesis, beside WORLD's resynthesis of the same features:", ""]
    lines += [f"| | {' | '.join(HEADINGS)} |", f"| --- |{' --- |' * len(HEADINGS)}"]
    for title, names in groups.items():
        for what in ("voice", "WORLD"):
            lines.append(mean_row(f"{title}: {what}", [copies[name][what] for name in names]))
    lines += ["", *move_table(moves)]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--recordings", type=Path, default=Path("measurement_data"), help="folder of FLAC files")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=20, help="held-out utterances (default 20)")
    parser.add_argument("--processes", type=int, help="that measure (default: one for each CPU)")
    parser.add_argument("--server", help="host:port of a Triton server that serves the voice")
    args = parser.parse_args(arguments)
    voice, generator = load_voice(args.voice)
    synthesize = served_synthesizer(args.server) if args.server else local_synthesizer(voice, generator)
    clips = held_out_clips(args.corpus)[: args.clips]
    clips += [recorded_clip(path, voice) for path in sorted(args.recordings.glob("*.flac"))]
    made = {}
    with ProcessPoolExecutor(args.processes, get_context("spawn")) as pool:
        measured = []
        for clip in clips:
            made[clip.name] = synthesize(clip.features, 1.0)
            moved = {factor: synthesize(clip.features, factor) for factor in FACTORS}
            measured.append(pool.submit(measure, clip, made[clip.name], moved, voice))
        results = [result.result() for result in tqdm(measured, unit="utterance")]
    copies = {clip.name: copy for clip, (copy, _) in zip(clips, results, strict=True)}
    moves = [move for _, some in results for move in some]
    shown = [*clips[:3], *clips[args.clips :]]
    save_pictures(
        args.output / "spectrograms.png",
        [clip.name for clip in shown],
        [clip.waveform.astype(np.float32) for clip in shown],
        [made[clip.name].astype(np.float32) for clip in shown],
        voice.sample_rate,
    )
    tables = make_tables(copies, moves)
    text = json.dumps({"copies": copies, "moves": [asdict(move) for move in moves]}, indent=1)
    for name, content in ((FIGURES_FILE, tables), ("figures.json", text)):
        with atomic_file(args.output / name) as file:
            file.write(content.encode())
    print(tables)


if __name__ == "__main__":
    main()

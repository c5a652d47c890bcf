"""Measure a voice: copy synthesis of held-out utterances and of recordings of unseen singers, and pitch moves.

    python -m tools.train_demo_voice.evaluate --voice voices/demo --corpus corpus --output figures

Writes `figures.md` (for the card: `export.py --figures`), `figures.json` and `spectrograms.png`. With `--server
HOST:PORT` a running Triton server synthesises instead of the full-length PyTorch generator.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from preprocess import Voice, condition
from sifigan_triton.analysis import analyze
from sifigan_triton.atomic import atomic_file
from sifigan_triton.audio import read_audio
from sifigan_triton.client import SifiganClient
from sifigan_triton.features import Features
from sifigan_triton.generator import Generator
from sifigan_triton.quality.comparison import compare
from sifigan_triton.quality.method import Method
from sifigan_triton.quality.pair import Pair
from sifigan_triton.quality.pitch import PitchErrors, harvest
from sifigan_triton.voices import load_voice
from tools.train_demo_voice.measures import harmonic_to_noise_db, level_db, world_resynthesis
from tools.train_demo_voice.pictures import save_pictures

FACTORS = (0.5, 0.71, 1.41, 2.0)
"""Pitch moves."""

MEASURABLE_HZ = (71.0, 840.0)
"""Moved F0 beyond this range is not judged: neither the analysis nor the corpus reaches further."""

METRICS = ("mcd", "log_f0", "vuv", "visqol", "loudness")
HEADINGS = ("MCD dB", "log-F0 RMSE", "V/UV %", "ViSQOL", "loudness LU")

FloatArray = npt.NDArray[np.float64]
Synthesizer = Callable[[Features, float], FloatArray]


@dataclass(frozen=True, eq=False)
class Clip:
    """A recording and its features."""

    name: str
    waveform: FloatArray
    """(T * 120,)"""
    features: Features


@dataclass(frozen=True)
class Move:
    """One utterance at one factor."""

    name: str
    factor: float
    frames: int
    """Frames whose pitch was judged: voiced in both, asked for within `MEASURABLE_HZ`."""
    log_f0: float | None
    """RMSE between the contour asked for and that measured, in natural logarithms."""
    level_db: float
    """Level relative to the same utterance at factor 1."""
    hnr_db: float
    """Median harmonic-to-noise ratio relative to factor 1."""


def held_out_clips(corpus: Path) -> list[Clip]:
    """Read the held-out utterances of a corpus."""
    clips = []
    for path in sorted(corpus.glob("heldout-*.npz")):
        with np.load(path, allow_pickle=False) as data:
            features = Features(data["f0"], data["mcep"], data["bap"], 24000, 5.0)
            clips.append(Clip(path.stem, data["waveform"].astype(np.float64) / 32767.0, features))
    return clips


def recorded_clip(path: Path, voice: Voice) -> Clip:
    """Read and analyse a recording."""
    waveform = read_audio(path, voice.sample_rate)
    features = analyze(waveform, voice.sample_rate, voice.analysis, voice.hop_size)
    return Clip(path.stem, np.pad(waveform, (0, features.frames * voice.hop_size - len(waveform))), features)


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


def judge_move(clip: Clip, plain: FloatArray, moved: FloatArray, factor: float, voice: Voice) -> Move:
    """Measure an utterance whose pitch was moved."""
    asked = clip.features.f0.astype(np.float64) * factor
    low, high = MEASURABLE_HZ
    inside = np.where((asked >= low) & (asked <= high), asked, 0.0)
    error = PitchErrors()
    if inside.any():
        floor, ceiling = 0.75 * inside[inside > 0.0].min(), 1.3 * inside.max()
        settings = replace(voice.analysis, f0_floor=floor, f0_ceiling=ceiling)
        error = PitchErrors.of(inside, harvest(moved, voice.sample_rate, voice.hop_size, settings))
    hnr = [
        float(np.median(ratios)) if ratios.size else 0.0
        for ratios in (
            harmonic_to_noise_db(waveform, f0, voice.sample_rate, voice.hop_size)
            for waveform, f0 in ((moved, inside), (plain, clip.features.f0.astype(np.float64)))
        )
    ]
    level = level_db(moved) - level_db(plain)
    return Move(clip.name, factor, error.both_voiced, error.log_f0_rmse, level, hnr[0] - hnr[1])


def measure(
    clip: Clip, plain: FloatArray, moved: Mapping[float, FloatArray], voice: Voice
) -> tuple[dict[str, dict[str, float | None]], list[Move]]:
    """Measure all that was made of one utterance: copy synthesis, and the pitch moves by factor."""
    moves = [judge_move(clip, plain, waveform, factor, voice) for factor, waveform in moved.items()]
    return copy_synthesis(clip, plain, voice), moves


def pooled_log_f0(moves: Sequence[Move]) -> float:
    """Return the RMSE over the frames of several utterances."""
    judged = [(move.frames, move.log_f0) for move in moves if move.log_f0 is not None]
    return float(np.sqrt(sum(n * error**2 for n, error in judged) / max(1, sum(n for n, _ in judged))))


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
    lines += [
        "",
        "Pitch moves: asked against measured F0 (frames asked for within 71 to 840 Hz), level and harmonic-to-noise",
    ]
    lines += ["ratio relative to the unmoved synthesis (median, and the worst utterance):", ""]
    lines += [
        "| factor | log-F0 RMSE | worst utterance | level dB | lowest | HNR dB | lowest |",
        "| --- |" + " --- |" * 6,
    ]
    for factor in FACTORS:
        some = [move for move in moves if move.factor == factor and move.frames]
        if not some:
            continue
        errors = [move.log_f0 for move in some if move.log_f0 is not None]
        levels, ratios = [move.level_db for move in some], [move.hnr_db for move in some]
        lines.append(
            f"| {factor:g} | {pooled_log_f0(some):.3f} | {max(errors, default=0.0):.3f} | {np.median(levels):.1f} | "
            f"{min(levels):.1f} | {np.median(ratios):.1f} | {min(ratios):.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--recordings", type=Path, default=Path("measurement_data"), help="folder of FLAC files")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=20, help="held-out utterances (default 20)")
    parser.add_argument("--processes", type=int, help="that measure (default: one for each CPU)")
    parser.add_argument("--server", help="host:port of a Triton server that serves the voice")
    arguments = parser.parse_args()
    voice, generator = load_voice(arguments.voice)
    synthesize = served_synthesizer(arguments.server) if arguments.server else local_synthesizer(voice, generator)
    clips = held_out_clips(arguments.corpus)[: arguments.clips]
    clips += [recorded_clip(path, voice) for path in sorted(arguments.recordings.glob("*.flac"))]
    made = {}
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        measured = []
        for clip in clips:
            made[clip.name] = synthesize(clip.features, 1.0)
            moved = {factor: synthesize(clip.features, factor) for factor in FACTORS}
            measured.append(pool.submit(measure, clip, made[clip.name], moved, voice))
        results = [result.result() for result in tqdm(measured, unit="utterance")]
    copies = {clip.name: copy for clip, (copy, _) in zip(clips, results, strict=True)}
    moves = [move for _, some in results for move in some]
    shown = [*clips[:3], *clips[arguments.clips :]]
    save_pictures(
        arguments.output / "spectrograms.png",
        [clip.name for clip in shown],
        [clip.waveform.astype(np.float32) for clip in shown],
        [made[clip.name].astype(np.float32) for clip in shown],
        voice.sample_rate,
    )
    tables = make_tables(copies, moves)
    text = json.dumps({"copies": copies, "moves": [asdict(move) for move in moves]}, indent=1)
    for name, content in (("figures.md", tables), ("figures.json", text)):
        with atomic_file(arguments.output / name) as file:
            file.write(content.encode())
    print(tables)


if __name__ == "__main__":
    main()

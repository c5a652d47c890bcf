"""Pitch moves: how a voice follows an F0 that is not its recording's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from preprocess import Voice
from sifigan_triton.quality.pitch import GROSS_ERROR, PitchErrors, harvest
from tools.train_demo_voice.clips import Clip
from tools.train_demo_voice.measures import harmonic_to_noise_db, level_db, world_resynthesis

FACTORS = (0.5, 0.71, 1.41, 2.0)
"""Pitch moves."""

MEASURABLE_HZ = (71.0, 840.0)
"""Moved F0 beyond this range is not judged: neither the analysis nor the corpus reaches further."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Move:
    """One utterance at one factor."""

    name: str
    factor: float
    error: PitchErrors
    """Between the contour asked for and that measured, in the frames asked to be voiced within `MEASURABLE_HZ`."""
    world: PitchErrors
    """The same of WORLD's resynthesis with the F0 asked for: what the estimator errs by itself."""
    confirmed: PitchErrors
    """Of the voice, in the frames in which that of WORLD is measured as it was asked for, within `GROSS_ERROR`."""
    world_confirmed: PitchErrors
    """Of WORLD's resynthesis in the same frames."""
    level_db: float
    """Level relative to the same utterance at factor 1."""
    hnr_db: float
    """Median harmonic-to-noise ratio relative to factor 1."""


def judge_move(clip: Clip, plain: FloatArray, moved: FloatArray, factor: float, voice: Voice) -> Move:
    """Measure an utterance whose pitch was moved.

    Args:
        clip: the utterance, of T frames.
        plain: (L,), what the voice makes of its features.
        moved: (L,), what it makes of them at F0 times `factor`.
        factor: of the F0.
        voice: the voice's constants.

    """
    asked = clip.features.f0.astype(np.float64) * factor
    low, high = MEASURABLE_HZ
    inside = np.where((asked >= low) & (asked <= high), asked, 0.0)
    error = world_error = confirmed = world_confirmed = PitchErrors()
    if inside.any():
        floor, ceiling = 0.75 * inside[inside > 0.0].min(), 1.3 * inside.max()
        settings = replace(voice.analysis, f0_floor=floor, f0_ceiling=ceiling)
        world = world_resynthesis(replace(clip.features, f0=asked.astype(np.float32)), voice)
        measured, yardstick = (
            harvest(waveform, voice.sample_rate, voice.hop_size, settings) for waveform in (moved, world)
        )
        judged = inside > 0.0
        wanted, got, ideal = (contour[: len(inside)][judged] for contour in (inside, measured, yardstick))
        error, world_error = PitchErrors.of(wanted, got), PitchErrors.of(wanted, ideal)
        near = np.abs(ideal / wanted - 1.0) <= GROSS_ERROR
        confirmed, world_confirmed = (PitchErrors.of(wanted[near], some[near]) for some in (got, ideal))
    hnr = [
        float(np.median(ratios)) if ratios.size else 0.0
        for ratios in (
            harmonic_to_noise_db(waveform, f0, voice.sample_rate, voice.hop_size)
            for waveform, f0 in ((moved, inside), (plain, clip.features.f0.astype(np.float64)))
        )
    ]
    level = level_db(moved) - level_db(plain)
    return Move(clip.name, factor, error, world_error, confirmed, world_confirmed, level, hnr[0] - hnr[1])


def rmse(errors: Iterable[PitchErrors]) -> str:
    """Return the log-F0 RMSE over the frames of several utterances; - where there is none."""
    error = sum(errors, PitchErrors()).log_f0_rmse
    return "-" if error is None else f"{error:.3f}"


def move_table(moves: Sequence[Move]) -> list[str]:
    """Return the lines of the table of all moves, as Markdown."""
    low, high = MEASURABLE_HZ
    lines = [
        f"Pitch moves: asked against measured F0 (frames asked for within {low:g} to {high:g} Hz), over all frames and",
        "over those in which WORLD's resynthesis with the F0 asked for is measured within "
        f"{GROSS_ERROR:.0%} of it. RMSE",
        "over the frames in which the waveform is voiced, all utterances together. Level and harmonic-to-noise ratio",
        "relative to the unmoved synthesis (median, and the worst utterance):",
        "",
        "| factor | log-F0 RMSE | WORLD | where WORLD is right | WORLD there | share of frames | of those unvoiced | "
        "worst utterance there | level dB | lowest | HNR dB | lowest |",
        "| --- |" + " --- |" * 11,
    ]
    for factor in FACTORS:
        some = [move for move in moves if move.factor == factor and move.error.both_voiced]
        if not some:
            continue
        names = ("error", "world", "confirmed", "world_confirmed")
        errors = [rmse(getattr(move, name) for move in some) for name in names]
        confirmed = sum((move.confirmed for move in some), PitchErrors())
        share = confirmed.frames / sum(move.error.frames for move in some)
        unvoiced = "-" if confirmed.vuv_percent is None else f"{confirmed.vuv_percent:.1f}%"
        worst = max(rmse([move.confirmed]) for move in some)  # "-" sorts before figures
        levels, ratios = [move.level_db for move in some], [move.hnr_db for move in some]
        lines.append(
            f"| {factor:g} | {' | '.join(errors)} | {share:.0%} | {unvoiced} | {worst} | "
            f"{np.median(levels):.1f} | {min(levels):.1f} | {np.median(ratios):.1f} | {min(ratios):.1f} |"
        )
    return lines

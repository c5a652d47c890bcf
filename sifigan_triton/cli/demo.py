"""The demonstration: a real recording through the real server, with its pitch kept and moved."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.voice import Voice
from sifigan_triton.client import SifiganClient
from sifigan_triton.client.step_statistics import StepStatistics, step_order
from sifigan_triton.features.analysis import analyze_recording
from sifigan_triton.features.audio import write_audio
from sifigan_triton.features.features import Features
from sifigan_triton.features.plot import plot_synthesis

logger = logging.getLogger(__name__)

HEADINGS = ("f0_factor", "frames", "windows", "audio s", "step", "seconds", "RTF")


@dataclass(frozen=True)
class DemoRow:
    """One synthesis of the demonstration."""

    f0_factor: float
    frames: int
    windows: int
    audio_seconds: float
    seconds: dict[str, float]
    """Seconds that each step took, the whole request included."""


def synthesize_to_files(
    client: SifiganClient,
    features: Features,
    f0_factor: float,
    wav: Path,
    picture: Path | None,
    title: str,
    seed: int = 0,
    repair: bool = False,
) -> None:
    """Synthesise features with one call and write the 16-bit waveform and, if asked for, its picture."""
    pcm16 = client.synthesize_pcm16(features.f0, features.mcep, features.bap, f0_factor, seed, repair)
    write_audio(wav, pcm16, features.sample_rate)
    if picture is not None:
        plot_synthesis(picture, pcm16, features.sample_rate, features.f0 * f0_factor, features.frame_period_ms, title)


def run_demo(
    client: SifiganClient,
    recording: Path,
    voice: Voice,
    output: Path,
    f0_factors: Sequence[float],
    metrics_url: str,
) -> list[DemoRow]:
    """Analyse a recording, synthesise it at each factor and write `<name>_x<factor>.wav` and `.png` into `output`.

    Args:
        client: connection to the server.
        recording: audio file.
        voice: the constants of the voice that is served.
        output: folder to write to, made if absent.
        f0_factors: factors on F0.
        metrics_url: address of the server's metrics.

    """
    started = time.perf_counter()
    features = analyze_recording(recording, voice)
    analysis_seconds = time.perf_counter() - started
    logger.info("analysed %s: %d frames, %.2f s", recording.name, features.frames, features.seconds)
    client.synthesize_pcm16(features.f0, features.mcep, features.bap)  # the first call warms the server up
    rows = []
    for factor in f0_factors:
        name = f"{recording.stem}_x{factor:.2f}"
        wav, picture = output / f"{name}.wav", output / f"{name}.png"
        before, started = client.steps(metrics_url), time.perf_counter()
        pcm16 = client.synthesize_pcm16(features.f0, features.mcep, features.bap, factor)
        seconds = {"request": time.perf_counter() - started}
        done = {name: step - before[name] for name, step in client.steps(metrics_url).items()}
        write_audio(wav, pcm16, features.sample_rate)
        title = f"{recording.stem}, f0_factor {factor:g}, voice {voice.name}"
        plot_synthesis(picture, pcm16, features.sample_rate, features.f0 * factor, features.frame_period_ms, title)
        logger.info("wrote %s and %s", wav, picture)
        rows.append(_row(factor, features, {"analysis": analysis_seconds}, done, seconds))
    return rows


def format_rows(rows: Sequence[DemoRow]) -> str:
    """Return the table of times: a line for each step of each synthesis; RTF is seconds a second of audio."""
    lines = ["{:>9} {:>7} {:>8} {:>8}  {:<24} {:>8} {:>7}".format(*HEADINGS)]
    for row in rows:
        head = f"{row.f0_factor:>9.2f} {row.frames:>7} {row.windows:>8} {row.audio_seconds:>8.2f}"
        for step, seconds in row.seconds.items():
            lines.append(f"{head:<35}  {step:<24} {seconds:>8.3f} {seconds / row.audio_seconds:>7.3f}")
            head = ""
    return "\n".join(lines)


def _row(
    factor: float,
    features: Features,
    analysis: dict[str, float],
    done: dict[str, StepStatistics],
    request: dict[str, float],
) -> DemoRow:
    steps = {name: step for name, step in done.items() if step.inferences and name != "sifigan"}
    windows = max(step.inferences for step in steps.values())  # the engine's batch items
    seconds = analysis | {name: steps[name].seconds for name in sorted(steps, key=step_order)} | request
    return DemoRow(factor, features.frames, windows, features.seconds, seconds)

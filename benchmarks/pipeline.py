"""Table and plot: what preprocess and postprocess cost in CPU time, from 100 to 60,000 frames.

    python -m benchmarks.pipeline [--rounds 30] [--plot docs/notes/pipeline.png]

One process, one thread; CPU time of the thread, so that what else runs on the machine counts less. All rows of a length
are interleaved, after a round that is not counted; medians. Between two measurements 64 MB are written, so that nothing
is left in the processor's caches, as behind an engine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.older_interface import older_tensors
from benchmarks.tracks import recordings
from postprocess import merge, to_pcm16
from preprocess import Settings, preprocess, preprocess_tensors
from preprocess.older_tensors import EXCITATION, FACTORS, FEATURES
from sifigan_triton.features.requests import Request
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.voice.folder import random_voice

LENGTHS = (100, 627, 2000, 6000, 20000, 60000)
"""Frames."""
COLUMNS = ("preprocess", "preprocess, a new seed", "preprocess-tensors", "postprocess", "postprocess, pcm16")

Step = Callable[[], object]


def default_settings() -> Settings:
    """Return the settings of the default build, with a small voice: the generator's size changes nothing here."""
    return EngineSpec(*random_voice(channels=64)).settings


def of_length(frames: int, floor: float) -> Request:
    """Return the shipped recordings over and over, their F0 at or above the floor."""
    sung = recordings()
    f0, mcep, bap = (np.resize(values, (frames, *values.shape[1:])) for values in (sung.f0, sung.mcep, sung.bap))
    return Request(f0, mcep, bap).raised_to(floor)


def steps(frames: int, settings: Settings, seeds: Iterator[int]) -> dict[str, Step]:
    """Return what is measured at a length, in the order of `COLUMNS`."""
    request = of_length(frames, settings.f0_floor)
    features = (request.f0, request.mcep, request.bap)
    older = older_tensors(request, settings.voice)
    tensors = tuple(older[name] for name in (EXCITATION, FEATURES, FACTORS))
    hop, windows = settings.voice.hop_size, -(-frames // settings.window)
    waveforms = np.random.default_rng(0).uniform(-1.0, 1.0, (windows, 1, settings.window * hop)).astype(np.float32)

    def new_seed() -> object:
        return preprocess(*features, settings, seed=np.array([next(seeds)]))

    runs: list[Step] = [
        lambda: preprocess(*features, settings),
        new_seed,
        lambda: preprocess_tensors(*tensors, settings),
        lambda: merge(waveforms, frames * hop),
        lambda: to_pcm16(merge(waveforms, frames * hop)),
    ]
    return dict(zip(COLUMNS, runs, strict=True))


def cpu_ms(runs: dict[str, Step], rounds: int) -> dict[str, float]:
    """Return the median CPU time of each run, in ms."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    elsewhere = np.zeros(8_000_000)
    for number in range(rounds + 1):
        for name, run in runs.items():
            if name == COLUMNS[0]:
                run()  # the noise of the default seed is there: what the requests before have asked for
            elsewhere += 1.0
            started = time.thread_time_ns()
            run()
            if number:
                times[name].append((time.thread_time_ns() - started) / 1e6)
    return {name: float(np.median(values)) for name, values in times.items()}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="at lengths up to 2,000 frames; a third beyond")
    parser.add_argument("--plot", type=Path, help="a PNG file to write")
    args = parser.parse_args()
    settings, seeds = default_settings(), count(1)
    print(f"| frames | {' | '.join(f'{name}, ms' for name in COLUMNS)} |")
    print(f"| ---: {'| ---: ' * len(COLUMNS)}|")
    table = []
    for frames in LENGTHS:
        row = cpu_ms(steps(frames, settings, seeds), args.rounds if frames <= 2000 else -(-args.rounds // 3))
        print(f"| {frames:,} | {' | '.join(f'{ms:.2f}' for ms in row.values())} |", flush=True)
        table.append(row)
    if args.plot is not None:
        plot(args.plot, table)


def plot(path: Path, table: list[dict[str, float]]) -> None:
    """Draw the columns over the length, beside a line of one microsecond a frame."""
    figure = Figure(figsize=(6.4, 4.0), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name in COLUMNS:
        axes.loglog(LENGTHS, [row[name] for row in table], "o-", label=name)
    axes.loglog(LENGTHS, [frames / 1e3 for frames in LENGTHS], "k:", label="1 µs a frame")
    axes.set(xlabel="frames", ylabel="CPU time in ms")
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path)


if __name__ == "__main__":
    main()

"""`build_engines.py --window auto`: measures, prints the table, returns the window."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sifigan_triton.build.options import BuildError, BuildOptions
from sifigan_triton.build.window_choice.choice import Candidate, Use, choose, rate, windows_to_measure
from sifigan_triton.build.window_choice.distribution import Distribution, read_distribution
from sifigan_triton.build.window_choice.engine_times import EngineTimes
from sifigan_triton.build.window_choice.table import format_table
from sifigan_triton.build.window_choice.timing import time_engines
from sifigan_triton.build.window_choice.trial_engine import TrialMaker
from sifigan_triton.repository.engine_kinds import EngineKind
from sifigan_triton.voice.folder import load_voice

Report = Callable[[str], None]
FLOORS = (35.0, 50.0, 70.0, 100.0)
"""Floors in Hz of which the table shows those that take all of the data, so that a user sees what a floor costs."""


def auto_window(options: BuildOptions, lengths: Sequence[Path], concurrency: int, report: Report) -> int:
    """Choose the window for a distribution of lengths by measuring engines on this machine.

    Args:
        options: what is to be built; its window is not looked at.
        lengths: files of requests.
        concurrency: requests that wait at the same time.
        report: called with each line of progress and with the table.

    Raises:
        VoiceError: if the voice cannot be read.
        BuildError: if an option does not fit, or no static engine is to be built.
        ValueError: naming the file of lengths that cannot be used.

    """
    if concurrency < 1:
        raise BuildError(f"--concurrency is {concurrency}, expected at least 1")
    options.check()
    kind = engine_to_time(options)
    voice, generator = load_voice(options.voice)
    distribution = read_distribution(lengths, voice)
    use = Use(voice, distribution.lengths, options.max_batch_size, concurrency, joins_requests=kind.runtime == "trt")
    refused = distribution.below(options.f0_floor)
    if refused:
        report(f"--window auto: {refused}")

    def say(line: str) -> None:
        report(f"--window auto: {line}")

    with tempfile.TemporaryDirectory() as scratch:
        maker = TrialMaker(options, kind, voice, generator, Path(scratch), say)
        times = _measure(maker, windows_to_measure(use.candidates()), distribution, say)
    candidates = [rate(use, times, window, options.f0_floor) for window in use.candidates()]
    chosen = choose(candidates)
    floors = [f for f in FLOORS if f != options.f0_floor and distribution.below(f) is None]
    others = [rate(use, times, chosen.window, floor) for floor in floors]
    report(_title(kind, distribution, concurrency))
    report(format_table([*_shown(candidates, chosen, times), *others], chosen))
    report(_verdict(candidates, chosen))
    return chosen.window


def _measure(maker: TrialMaker, windows: Sequence[int], distribution: Distribution, report: Report) -> EngineTimes:
    """Make and load engines, and time them."""
    engines = []
    for number, window in enumerate(windows, start=1):
        report(f"making {maker.kind.name} of {window} frames, {number} of {len(windows)} ...")
        engines.append(maker.make(window))
    return time_engines(engines, distribution, report)


def engine_to_time(options: BuildOptions) -> EngineKind:
    """Return the engine behind `sifigan` or, if that one takes any length, the last static one.

    Raises:
        BuildError: if no static engine is to be built.

    """
    static = [kind for kind in (*options.engines, options.default) if kind.static]
    if not static:
        raise BuildError(
            f"--window auto is for static engines, got {', '.join(kind.name for kind in options.engines)}, which "
            "take any length: leave it out, or add --engine openvino-fp32"
        )
    return static[-1]


def _shown(candidates: Sequence[Candidate], chosen: Candidate, times: EngineTimes) -> list[Candidate]:
    """Return the candidates for the table: those that were measured, the default, the cheapest and the chosen one."""
    cheapest = min(candidates, key=lambda each: each.cost_ms)
    windows = {*times.windows, BuildOptions.window, cheapest.window, chosen.window}
    return [candidate for candidate in candidates if candidate.window in windows]


def _title(kind: EngineKind, distribution: Distribution, concurrency: int) -> str:
    lengths, lowest = distribution.lengths, distribution.lowest_f0s.min()
    several = f", {concurrency} at once" if concurrency > 1 else ""
    voiced = f"F0 from {lowest:.1f} Hz" if np.isfinite(lowest) else "none of them voiced"
    return f"{kind.name}, {lengths.size} requests of {lengths.min()} to {lengths.max()} frames{several}, {voiced}:"


def _verdict(candidates: Sequence[Candidate], chosen: Candidate) -> str:
    by_window = {candidate.window: candidate for candidate in candidates}
    default = by_window.get(BuildOptions.window)
    against = (
        "" if default is None else f", {chosen.cost_ms / default.cost_ms:.2f} times the default's, {default.window}"
    )
    return (
        f"chosen: a window of {chosen.window} frames, {chosen.cost_ms:.1f} ms of the engine for a second of audio"
        f"{against}. --window {chosen.window} builds the same again without measuring"
    )

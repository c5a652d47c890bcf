"""Times engines of several windows on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from preprocess import Windows
from sifigan_triton.build.window_choice.distribution import Distribution
from sifigan_triton.build.window_choice.engine_times import EngineTimes
from sifigan_triton.build.window_choice.trial_engine import TrialEngine
from sifigan_triton.repository.engine_kinds import EngineKind

Clock = Callable[[], float]

BATCHES = {"trt": (1, 4, 16), "openvino": (1,)}
"""Windows in the calls that are timed: OpenVINO's engine computes windows one by one, so that one tells all."""
FRAMES = 1024
"""A round computes about as many frames with each engine: small windows would be measured worse than large ones."""
BUSY = 0.1
"""Medians that lie further above the lower quartiles than this share are pointed out."""
MOST_ROUNDS, FEWEST_ROUNDS, ENOUGH_S = 25, 5, 40.0


@dataclass(frozen=True, eq=False)
class _Timed:
    """An engine and the windows of the calls that are timed."""

    engine: TrialEngine
    calls: tuple[Windows, ...]

    def run(self, clock: Clock) -> list[float]:
        """Return the seconds of each call: the mean of some in a row, behind one that warms up the caches."""
        seconds, repeats = [], max(1, FRAMES // self.engine.settings.window)
        for call in self.calls:
            self.engine.run(call)
            started = clock()
            for _ in range(repeats):
                self.engine.run(call)
            seconds.append((clock() - started) / repeats)
        return seconds


def time_engines(
    engines: Sequence[TrialEngine],
    distribution: Distribution,
    report: Callable[[str], None],
    clock: Clock = time.perf_counter,
) -> EngineTimes:
    """Time engines in turn, round after round, on windows of the distribution's own features.

    Args:
        engines: engines of one kind and floor, by ascending window.
        distribution: whose features they compute.
        report: called with each line of progress.
        clock: seconds; those of the process where others keep the machine busy.

    Returns:
        The lower quartile over the rounds: what else runs on the machine only ever adds.

    """
    batches = _batches(engines[0].kind, engines[0].settings.max_batch_size)
    timed = [
        _Timed(engine, tuple(distribution.windows(engine.settings, batch) for batch in batches)) for engine in engines
    ]
    report(f"timing {len(engines)} engines in turn ...")
    rounds: list[list[list[float]]] = []
    started = time.monotonic()
    while len(rounds) < MOST_ROUNDS and (len(rounds) < FEWEST_ROUNDS or time.monotonic() - started < ENOUGH_S):
        rounds.append([each.run(clock) for each in timed])
    quartile = np.quantile(rounds, 0.25, axis=0)
    excess = float((np.median(rounds, axis=0) / quartile).max()) - 1.0
    report(
        f"{len(rounds)} rounds in {time.monotonic() - started:.0f} s, medians up to {excess:.0%} above lower quartiles"
    )
    if excess > BUSY:
        report("something else keeps this machine busy: measure again when it is quiet")
    macs = np.array([engine.macs for engine in engines], np.float64)
    windows = tuple(engine.settings.window for engine in engines)
    return EngineTimes(engines[0].settings.f0_floor, windows, macs, batches, quartile)


def _batches(kind: EngineKind, max_batch: int) -> tuple[int, ...]:
    return tuple(batch for batch in BATCHES[kind.runtime] if batch <= max_batch)

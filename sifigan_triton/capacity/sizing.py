"""How many replicas a traffic needs: the fewest whose simulation keeps what was promised."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from sifigan_triton.capacity.service_times import ServiceTimes
from sifigan_triton.capacity.simulate import Fleet, Outcome, simulate
from sifigan_triton.capacity.traffic import Lengths, Traffic, to_frames

CALLS = 20_000
"""Calls that are simulated: 200 of them make the 99th percentile."""
WARM_UP = 0.1
"""Share of them that comes first, to servers that were idle, and does not count."""
SAMPLE = 50
"""Replicas that are simulated of larger fleets, with their share of the calls: a balancer that draws two of many treats
each as one that draws two of fifty."""
MOST = 100_000
"""Most replicas that are thought of."""
MILLION_HOURS = 3.6e9
"""Seconds of a million hours."""


@dataclass(frozen=True)
class Promise:
    """What callers are to get."""

    p99_s: float
    """Seconds that one answer in a hundred may exceed."""
    refused: float = 0.001
    """Share of the calls that may be refused."""

    def is_kept(self, outcome: Outcome) -> bool:
        """Whether an outcome is as good."""
        return outcome.refused <= self.refused and outcome.percentile(99) <= self.p99_s


@dataclass(frozen=True)
class Size:
    """A fleet and what its callers get."""

    replicas: int
    p50_s: float
    p99_s: float
    utilisation: float
    refused: float
    enough: bool
    """Whether the promise is kept."""

    @classmethod
    def of(cls, fleet: Fleet, outcome: Outcome, promise: Promise) -> Size:
        """Return what the callers of a fleet get."""
        p50_s, p99_s = outcome.percentile(50), outcome.percentile(99)
        return cls(fleet.replicas, p50_s, p99_s, outcome.utilisation, outcome.refused, promise.is_kept(outcome))


def work_s(times: ServiceTimes, lengths: Lengths) -> float:
    """Return the seconds that a call takes of a replica's cores or GPU, on average."""
    frames, counts = np.unique(to_frames(lengths, times.frame_s), return_counts=True)
    seconds = []
    for each in frames:
        windows = times.windows(int(each))
        engine = sum(times.window_s[size] for size in windows) + times.call_s * len(windows) / times.batch
        around = times.around(int(each)) / times.cores
        seconds.append(max(engine, around) if times.gpu else engine + around)
    return float(np.average(seconds, weights=counts))


def run(times: ServiceTimes, lengths: Lengths, rate: float, fleet: Fleet, seed: int = 0) -> Outcome:
    """Simulate a fleet of any size with calls at random moments, and leave out how it began."""
    replicas = min(fleet.replicas, SAMPLE)
    traffic = Traffic.poisson(rate * replicas / fleet.replicas, lengths, times.frame_s, CALLS, seed)
    outcome = simulate(times, traffic, replace(fleet, replicas=replicas), seed)
    return replace(outcome, latency_s=outcome.latency_s[int(WARM_UP * CALLS) :])


def fewest(
    times: ServiceTimes, lengths: Lengths, rate: float, fleet: Fleet, promise: Promise, seed: int = 0
) -> list[Size]:
    """Return the smallest fleet that keeps a promise, between one with a replica fewer and one with a tenth to spare.

    Args:
        times: what work costs on a replica.
        lengths: lengths of the calls in seconds, each as likely.
        rate: calls a second.
        fleet: how the replicas are balanced and limited; how many it has does not matter.
        promise: what is to be kept.
        seed: seed of the simulation.

    Raises:
        ValueError: if no fleet keeps it, with the reason.

    """
    longest = int(to_frames(lengths, times.frame_s).max())
    if longest > times.longest:
        raise ValueError(
            f"the longest call has {longest:,} frames, {longest * times.frame_s:,.1f} s: the server takes at most "
            f"{times.longest:,} frames; cut it into several, or build with a larger --max-batch"
        )
    alone = float(np.percentile([times.alone(int(each)) for each in to_frames(lengths, times.frame_s)], 99))
    if alone > promise.p99_s:
        raise ValueError(
            f"one call in a hundred takes {alone:.3g} s or more even on an idle server: a p99 of {promise.p99_s:g} s "
            "needs a faster engine, more cores a replica, or shorter calls"
        )
    tried: dict[int, Size] = {}

    def at(replicas: int) -> Size:
        if replicas not in tried:
            one = replace(fleet, replicas=replicas)
            tried[replicas] = Size.of(one, run(times, lengths, rate, one, seed), promise)
        return tried[replicas]

    low = max(1, math.ceil(rate * work_s(times, lengths)) - 1)  # which has no time for them, or just so
    high = low
    while not at(high).enough:
        low, high = high, max(high + 1, math.ceil(1.25 * high))
        if high > MOST:
            raise ValueError(f"more than {MOST:,} replicas are needed: check the rate and the lengths")
    low = 0 if low == high else low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if at(middle).enough else (middle, high)
    return [at(replicas) for replicas in (high - 1, high, math.ceil(1.1 * high)) if replicas > 0]

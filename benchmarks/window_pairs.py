"""What two engines of different windows behind one ensemble would save: `benchmarks.window_choice` prints it.

Every request is split as is cheapest: some large windows, small ones for the rest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from preprocess import Voice
from sifigan_triton.build.window_choice.choice import LARGEST, SMALLEST, Use, choose, rate
from sifigan_triton.build.window_choice.engine_times import EngineTimes
from sifigan_triton.build.window_choice.trial_engine import macs_of
from sifigan_triton.network.crop_plan import crop_plan

Lengths = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]
MOST_PARTS = 40


def print_pairs(voice: Voice, times: EngineTimes, max_batch: int, shipped: Lengths) -> None:
    """Print the best window and the best pair of windows for the shipped lengths and for seeded ones."""
    random = np.random.default_rng(0)
    cases = {
        "measurement_data": shipped,
        "200 of 0.3 to 10 s, uniform": random.integers(60, 2001, 200),
        "200 of 0.3 to 10 s, log-uniform": np.exp(random.uniform(np.log(60), np.log(2000), 200)).astype(np.int64),
    }
    own = choose(_rated(voice, times, max_batch, shipped)).window
    print("\n| lengths | best window | ms for 1 s | best pair | ms for 1 s | saved | the shipped data's window |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, lengths in cases.items():
        tables = {window: _call_times(voice, times, max_batch, window, lengths) for window in _grid(lengths)}
        per_second = 1e3 / (lengths.sum() * voice.frame_period_ms / 1e3)
        single, one = min((_single(table, window, lengths), window) for window, table in tables.items())
        pair, large, small = min(
            (_pair(tables[a], tables[b], a, b, lengths), a, b) for a in tables for b in tables if b < a
        )
        again = _single(_call_times(voice, times, max_batch, own, lengths), own, lengths)
        print(
            f"| {name} | {one} | {single * per_second:.1f} | {large} + {small} | {pair * per_second:.1f} | "
            f"{1.0 - pair / single:.1%} | {own}: {again * per_second:.1f} |"
        )


def _rated(voice: Voice, times: EngineTimes, max_batch: int, lengths: Lengths) -> list:  # type: ignore[type-arg]
    use = Use(voice, lengths, max_batch)
    return [rate(use, times, window, times.f0_floor) for window in use.candidates()]


def _grid(lengths: Lengths) -> list[int]:
    """Return every 32nd window and, of few lengths, their equal parts."""
    windows = set(range(SMALLEST, LARGEST + 1, 32))
    if lengths.size <= 20:
        windows |= {int(-(-length // parts)) for length in lengths for parts in range(1, MOST_PARTS + 1)}
    return sorted(window for window in windows if SMALLEST <= window <= LARGEST)


def _call_times(voice: Voice, times: EngineTimes, max_batch: int, window: int, lengths: Lengths) -> Array:
    """Return the seconds of 0, 1, 2, ... windows, up to those of the longest request."""
    macs = macs_of(voice, crop_plan(voice, window, times.f0_floor))
    return times.call_seconds(macs, np.arange(-(-int(lengths.max()) // window) + 1), max_batch)


def _single(table: Array, window: int, lengths: Lengths) -> float:
    return float(table[-(-lengths // window)].sum())


def _pair(large_table: Array, small_table: Array, large: int, small: int, lengths: Lengths) -> float:
    """Return the seconds of all requests, each split into large and small windows as is cheapest."""
    larges = np.arange(large_table.size)[:, None]
    rest = np.maximum(lengths[None] - larges * large, 0)
    return float((large_table[:, None] + small_table[-(-rest // small)]).min(axis=0).sum())

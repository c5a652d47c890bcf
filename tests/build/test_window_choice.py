"""Lengths and measured times -> the window: by hand, and against trying every window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.window_pairs import _call_times, _pair, _single
from sifigan_triton.build.window_choice.choice import TOLERANCE, Candidate, Use, choose, rate, windows_to_measure
from sifigan_triton.build.window_choice.engine_times import EngineTimes
from sifigan_triton.build.window_choice.table import format_table
from sifigan_triton.build.window_choice.trial_engine import macs_of
from sifigan_triton.network.crop_plan import crop_plan
from tests.small_voice import small_voice

VOICE, _ = small_voice()
FLOOR = 70.0
ONE = Candidate(100, FLOOR, 10.0, 0.1, 0.2, 64.0, 5.0, 20.0, "measured")


def lengths(*frames: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(frames, np.int64)


def times_of(windows: tuple[int, ...], batches: tuple[int, ...], seconds: Any) -> EngineTimes:
    macs = [macs_of(VOICE, crop_plan(VOICE, window, FLOOR)) for window in windows]
    return EngineTimes(FLOOR, windows, np.array(macs, np.float64), batches, np.array(seconds, np.float64))


def in_proportion(windows: tuple[int, ...] = (64, 1024)) -> EngineTimes:
    """An engine that computes 1 G multiply-adds a second, window by window."""
    macs = [macs_of(VOICE, crop_plan(VOICE, window, FLOOR)) for window in windows]
    return times_of(windows, (1,), np.array(macs)[:, None] / 1e9)


@pytest.mark.parametrize(
    ("macs", "count", "expected"),
    [
        pytest.param(10.0, 1, 1.0, id="measured"),
        pytest.param(15.0, 1, 1.5, id="between windows"),
        pytest.param(15.0, 2, 2.0, id="between windows and batches"),
        pytest.param(5.0, 1, 0.5, id="less arithmetic"),
        pytest.param(40.0, 1, 4.0, id="more arithmetic"),
        pytest.param(10.0, 6, 4.0, id="a larger batch"),
        pytest.param(10.0, 8, 5.333, id="the largest batch"),
        pytest.param(10.0, 17, 2 * 5.333 + 1.0, id="several calls"),
        pytest.param(10.0, 0, 0.0, id="none"),
    ],
)
def test_time_of_a_call(macs: float, count: int, expected: float) -> None:
    times = EngineTimes(FLOOR, (100, 200), np.array([10.0, 20.0]), (1, 3), np.array([[1.0, 2.0], [2.0, 3.0]]))
    assert times.call_seconds(macs, lengths(count), max_batch=8)[0] == pytest.approx(expected, abs=1e-3)


def test_a_candidate_by_hand() -> None:
    use = Use(VOICE, lengths(100, 130), max_batch=128)
    found = rate(use, times_of((64, 128), (1,), [[0.010], [0.016]]), 64, FLOOR)
    assert found.cost_ms == pytest.approx(1e3 * (2 + 3) * 0.010 / (230 * 0.005))
    assert found.padding == pytest.approx(1 - 230 / 320)
    assert 0.3 < found.halo < 0.6  # 216 frames a side, cropped as the network goes
    assert (found.longest_s, found.source) == (pytest.approx(64 * 128 * 0.005), "measured")
    assert (found.first_ms, found.answer_ms) == (pytest.approx(10.0), pytest.approx(25.0))
    between = rate(use, times_of((64, 128), (1,), [[0.010], [0.016]]), 96, FLOOR)
    assert between.source == "interpolated"
    assert 10.0 < between.first_ms < 16.0


def test_waiting_requests_share_calls_or_wait_their_turn() -> None:
    times, shared = times_of((64,), (1, 4), [[0.010, 0.016]]), lengths(64)
    alone = rate(Use(VOICE, shared, 128), times, 64, FLOOR)
    turns = rate(Use(VOICE, shared, 128, concurrency=4), times, 64, FLOOR)
    joined = rate(Use(VOICE, shared, 128, concurrency=4, joins_requests=True), times, 64, FLOOR)
    assert (turns.cost_ms, turns.answer_ms) == (pytest.approx(alone.cost_ms), pytest.approx(4 * alone.answer_ms))
    assert (joined.cost_ms, joined.answer_ms) == (pytest.approx(0.4 * alone.cost_ms), pytest.approx(16.0))


def test_a_lower_floor_costs_more() -> None:
    use, times = Use(VOICE, lengths(627), 128), in_proportion()
    rows = [rate(use, times, 209, floor) for floor in (35.0, 50.0, FLOOR, 100.0)]
    assert rows[0].cost_ms > rows[1].cost_ms > rows[2].cost_ms > rows[3].cost_ms
    assert rows[0].halo > rows[1].halo > rows[2].halo > rows[3].halo
    assert [row.source for row in rows] == ["by arithmetic", "by arithmetic", "interpolated", "by arithmetic"]


@pytest.mark.parametrize("frames", [(2440,), (37, 100, 200, 411, 627, 1000, 2440)], ids=str)
def test_the_choice_is_the_cheapest_but_for_the_tolerance(frames: tuple[int, ...]) -> None:
    use, times = Use(VOICE, lengths(*frames), 128), in_proportion()
    candidates = [rate(use, times, window, FLOOR) for window in use.candidates()]
    chosen, least = choose(candidates), min(candidate.cost_ms for candidate in candidates)
    assert chosen.cost_ms <= least * (1.0 + TOLERANCE)
    assert all(each.cost_ms > least * (1.0 + TOLERANCE) for each in candidates if each.window < chosen.window)
    smaller = rate(use, times, chosen.window - 1, FLOOR)
    assert (-(-use.lengths // smaller.window)).sum() > (
        -(-use.lengths // chosen.window)
    ).sum()  # an equal part of a length


def test_the_smallest_of_equals_is_chosen() -> None:
    candidates = [replace(ONE, window=window, cost_ms=cost) for window, cost in ((400, 10.0), (300, 10.1), (200, 10.3))]
    assert choose(candidates).window == 300


@pytest.mark.parametrize(
    ("longest", "max_batch", "expected"),
    [
        pytest.param(5000, 128, range(64, 1025), id="all"),
        pytest.param(627, 128, range(64, 628), id="none larger than a request"),
        pytest.param(37, 128, range(64, 65), id="short"),
        pytest.param(2440, 8, range(305, 1025), id="few windows in a call"),
        pytest.param(1024, 1, range(1024, 1025), id="one"),
    ],
)
def test_candidates_take_every_request(longest: int, max_batch: int, expected: range) -> None:
    assert Use(VOICE, lengths(10, longest), max_batch).candidates() == expected


def test_a_request_that_no_window_takes_is_refused_with_the_fix() -> None:
    message = r"longest request has 2440 frames, expected at most 2048 \(2 windows of 1024\): build with --max-batch 3"
    with pytest.raises(ValueError, match=message):
        Use(VOICE, lengths(2440), 2).candidates()
    assert Use(VOICE, lengths(2440), 3).candidates()


def test_ends_and_powers_of_two_are_measured() -> None:
    assert windows_to_measure(range(64, 1025)) == [64, 128, 256, 512, 1024]
    assert windows_to_measure(range(100, 628)) == [100, 128, 256, 512, 627]
    assert windows_to_measure(range(64, 65)) == [64]


def test_the_table_marks_the_choice() -> None:
    chosen = replace(ONE, window=209, source="interpolated")
    rows = [replace(ONE, window=512), chosen, replace(ONE, window=209, f0_floor=35.0, source="by arithmetic")]
    lines = format_table(rows, chosen).splitlines()
    assert len({line.count("|") for line in lines[:5]}) == 1
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["209", "**209**", "512"]
    assert lines[3].endswith("| interpolated; **chosen** |")
    assert "| 35 | 10.0 | 10.0% | 20.0% | 64 | 5.0 | 20.0 |" in lines[2]


def test_a_pair_of_windows_never_costs_more_than_either() -> None:
    frames, times = lengths(37, 627, 1000), in_proportion()
    large, small = (_call_times(VOICE, times, 128, window, frames) for window in (512, 128))
    pair = _pair(large, small, 512, 128, frames)
    assert pair <= min(_single(large, 512, frames), _single(small, 128, frames))
    by_hand = small[1] + (large[1] + small[1]) + min(large[2], large[1] + small[4], small[8])
    assert pair == pytest.approx(by_hand)

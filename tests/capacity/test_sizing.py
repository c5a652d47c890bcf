"""How many replicas a traffic needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sifigan_triton.capacity import sizing
from sifigan_triton.capacity.simulate import Fleet
from sifigan_triton.capacity.sizing import Promise, fewest, run, work_s
from tests.capacity.small import CPU

LENGTHS = np.geomspace(0.2, 6.0, 50)


@pytest.fixture(autouse=True)
def fewer_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "CALLS", 3000)


@pytest.mark.parametrize(("rate", "p99_s"), [(40.0, 1.0), (60.0, 0.32)], ids=["busy", "quick"])
def test_the_fewest_keep_the_promise_and_one_fewer_does_not(rate: float, p99_s: float) -> None:
    """Quick answers need many more replicas than the work alone: the search goes far, and back."""
    promise = Promise(p99_s)
    fewer, enough, spare = fewest(CPU, LENGTHS, rate, Fleet(1), promise)
    assert (fewer.enough, enough.enough, spare.enough) == (False, True, True)
    assert (fewer.replicas, spare.replicas) == (enough.replicas - 1, int(np.ceil(1.1 * enough.replicas)))
    assert enough.replicas >= rate * work_s(CPU, LENGTHS)
    assert enough.p50_s < enough.p99_s <= p99_s
    assert enough.utilisation == pytest.approx(rate * work_s(CPU, LENGTHS) / enough.replicas, rel=0.05)


def test_more_is_needed_for_more() -> None:
    base = fewest(CPU, LENGTHS, 20.0, Fleet(1), Promise(1.0))[-2].replicas
    assert fewest(CPU, LENGTHS, 40.0, Fleet(1), Promise(1.0))[-2].replicas > base
    assert fewest(CPU, LENGTHS, 20.0, Fleet(1), Promise(0.33))[-2].replicas > base
    assert fewest(replace(CPU, around_s=0.1), LENGTHS, 20.0, Fleet(1), Promise(1.0))[-2].replicas > base


def test_one_replica_is_enough_for_little() -> None:
    first = fewest(CPU, LENGTHS, 0.1, Fleet(1), Promise(2.0))[0]
    assert (first.replicas, first.enough) == (1, True)


def test_a_sample_stands_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "CALLS", 8_000)
    rate = 0.7 * 200 / work_s(CPU, LENGTHS)
    sample = run(CPU, LENGTHS, rate, Fleet(200))
    monkeypatch.setattr(sizing, "SAMPLE", 200)
    whole = run(CPU, LENGTHS, rate, Fleet(200))
    assert sample.percentile(99) == pytest.approx(whole.percentile(99), rel=0.08)


def test_what_no_fleet_can_do_is_told() -> None:
    with pytest.raises(ValueError, match=r"takes .* s or more even on an idle server: a p99 of 0.01 s needs a faster"):
        fewest(CPU, LENGTHS, 1.0, Fleet(1), Promise(0.01))
    with pytest.raises(ValueError, match=r"the longest call has 80,000 frames, 400.0 s: the server takes at most"):
        fewest(CPU, np.array([400.0]), 1.0, Fleet(1), Promise(1.0))

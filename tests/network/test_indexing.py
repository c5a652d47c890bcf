"""Indices of the pitch-dependent taps against a sample-by-sample restatement of the public training code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from preprocess.voice import PdIndexing
from sifigan_triton.network.indexing import inside, tap_indices

MODES: list[PdIndexing] = ["reflect", "zero"]
OUTSIDE = None


def reference_tap(t: int, o: int, length: int, mode: PdIndexing, side: str) -> int | None:
    """Return the sample that a tap reads, None where it reads zero.

    `reflect`: past `|t - o| mod L`; future `t + o`, from L on the Python index `-((t + o) mod L)`, where the public
    code's -0 (the first sample) is replaced by the last sample. `zero`: `t - o` and `t + o` of a zero-padded signal.
    """
    target = t - o if side == "past" else t + o
    if mode == "zero":
        return target if 0 <= target < length else OUTSIDE
    samples = list(range(length))
    if side == "past":
        return samples[abs(target) % length]
    if target < length:
        return samples[target]
    wrapped = target % length
    return samples[-wrapped] if wrapped else samples[-1]


def offsets_around(length: int) -> list[int]:
    """Return offsets on both sides of every multiple of the length where the rules change."""
    near = {k * length + d for k in (0, 1, 2, 3, 5) for d in (-1, 0, 1)}
    return sorted(o for o in near | {1, 2, 7, 1000} if o >= 1)


def indices(length: int, offset: int, mode: PdIndexing) -> list[torch.Tensor]:
    positions = torch.arange(length, dtype=torch.int32)
    return list(tap_indices(positions, torch.tensor(offset, dtype=torch.int32), torch.tensor(length), mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [1, 2, 3, 5, 20, 61])
def test_taps_equal_the_reference(length: int, mode: PdIndexing) -> None:
    for offset in offsets_around(length):
        for side, index in zip(("past", "future"), indices(length, offset, mode), strict=True):
            expected = [reference_tap(t, offset, length, mode, side) for t in range(length)]
            within = inside(index, torch.tensor(length)).tolist()
            got = [i if ok else OUTSIDE for i, ok in zip(index.tolist(), within, strict=True)]
            assert got == expected, f"{side} tap, offset {offset}"


@pytest.mark.parametrize("length", [1, 2, 5, 61])
def test_reflected_indices_lie_within_the_utterance(length: int) -> None:
    for offset in offsets_around(length):
        for index in indices(length, offset, "reflect"):
            assert inside(index, torch.tensor(length)).all(), f"offset {offset}"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_indices_stay_integers(mode: PdIndexing, dtype: torch.dtype) -> None:
    positions = torch.arange(7, dtype=dtype)
    for index in tap_indices(positions, torch.full((7,), 3, dtype=dtype), torch.tensor(7, dtype=dtype), mode):
        assert index.dtype == dtype


@pytest.mark.parametrize("mode", MODES)
def test_each_utterance_of_a_batch_has_its_own_length(mode: PdIndexing) -> None:
    lengths, offset = [5, 9], 4
    positions = torch.arange(5).expand(2, 1, 5)
    batch = tap_indices(positions, torch.full((2, 1, 5), offset), torch.tensor(lengths).view(2, 1, 1), mode)
    for row, length in enumerate(lengths):
        for side, index in zip(("past", "future"), batch, strict=True):
            within = inside(index, torch.tensor(lengths).view(2, 1, 1))[row, 0]
            got = [i if ok else OUTSIDE for i, ok in zip(index[row, 0].tolist(), within.tolist(), strict=True)]
            assert got == [reference_tap(t, offset, length, mode, side) for t in range(5)]


@pytest.mark.parametrize("mode", MODES)
def test_inputs_are_not_mutated(mode: PdIndexing) -> None:
    positions, offsets, length = torch.arange(6), torch.full((6,), 4), torch.tensor(6)
    tap_indices(positions, offsets, length, mode)
    np.testing.assert_array_equal(positions, range(6))
    np.testing.assert_array_equal(offsets, [4] * 6)
    assert length == 6

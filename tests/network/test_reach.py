"""What a range is said to depend on, against the network itself: all else may change, and its ends matter."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from preprocess.f0 import lowest_f0, tap_offsets
from preprocess.reach import Reach
from preprocess.voice import PdIndexing, Voice
from sifigan_triton.network.crop_plan import crop_plan
from sifigan_triton.network.generator import Generator
from tests.small_voice import one_thread, small_voice

FRAMES = 260
OTHER = {"source_additional_convs": False, "filter_additional_convs": True, "filter_dilations": ((1, 2), (1, 4), (3,))}
VOICES = [("zero", {}), ("reflect", {}), ("reflect", OTHER)]
IDS = ["zero", "reflect", "other-layers"]


def jumping_f0(random: np.random.Generator, frames: int) -> np.ndarray:
    """Return a voice that jumps between notes of 90 to 900 Hz."""
    notes = np.exp(random.uniform(np.log(90.0), np.log(900.0), frames // 10 + 1))
    return np.repeat(notes, 10)[:frames] * random.uniform(0.97, 1.03, frames)


def sung_f0(random: np.random.Generator, frames: int) -> np.ndarray:
    """Return a voice that glides over an octave and a half."""
    return 250.0 * 2.0 ** (0.75 * np.sin(np.arange(frames) / 25.0 + random.uniform(0.0, 6.0)))


class Case:
    """An utterance in FP64, so that hardly a change is lost, and what the network makes of it."""

    def __init__(
        self, voice: Voice, generator: Generator, seed: int, frames: int = FRAMES, f0: Any = jumping_f0
    ) -> None:
        self.voice, self.generator, self.frames = voice, generator, frames
        self.random = np.random.default_rng(seed)
        self.excitation = self.random.normal(size=(1, frames * voice.hop_size))
        self.features = self.random.normal(size=(43, frames))
        self.offsets = tap_offsets(f0(self.random, frames), voice)
        self.waveform = self.run(np.zeros(frames, np.bool_))

    def run(self, spoilt: np.ndarray) -> np.ndarray:
        """Run the network with other values in some frames; their taps lie elsewhere, too."""
        samples = np.repeat(spoilt, self.voice.hop_size)
        excitation, features = self.excitation + 30.0 * samples, self.features + 9.0 * spoilt
        offsets = np.where(spoilt, np.maximum(self.offsets // 2, 1), self.offsets)
        given = [torch.from_numpy(values)[None] for values in (excitation, features, offsets)]
        with torch.no_grad(), one_thread():
            out: Tensor = self.generator(*given)
        return out[0, 0].numpy()

    def heard(self, spoilt: np.ndarray, first: int, end: int) -> bool:
        """Return whether the audio of a range changes with some frames."""
        hop = self.voice.hop_size
        return not np.array_equal(self.run(spoilt)[first * hop : end * hop], self.waveform[first * hop : end * hop])

    def looked_at(self, first: int, end: int) -> np.ndarray:
        """Return the frames that the audio of a range has a gradient of."""
        given = [torch.from_numpy(values)[None] for values in (self.excitation, self.features)]
        with one_thread():
            out = self.generator(*(values.requires_grad_() for values in given), torch.from_numpy(self.offsets)[None])
            hop = self.voice.hop_size
            out[0, 0, first * hop : end * hop].sum().backward()
        excitation, features = (values.grad[0].numpy() for values in given)
        return excitation.reshape(self.frames, -1).any(axis=1) | features.any(axis=0)

    def ranges(self, count: int) -> list[tuple[int, int]]:
        """Draw ranges, among them some at the ends."""
        drawn = np.sort(self.random.choice(self.frames + 1, (count, 2)), axis=1)
        ends = [(0, 1), (self.frames - 1, self.frames), (0, self.frames // 3)]
        return [(int(first), int(end)) for first, end in drawn if first < end] + ends


def double(pd_indexing: PdIndexing, layers: dict[str, Any]) -> tuple[Voice, Generator]:
    voice, generator = small_voice(pd_indexing, **layers)
    return voice, generator.double()


@pytest.mark.parametrize(("pd_indexing", "layers"), VOICES, ids=IDS)
def test_what_lies_outside_changes_no_bit(pd_indexing: PdIndexing, layers: dict[str, Any]) -> None:
    for seed, frames in enumerate((FRAMES, 30, 3)):
        case = Case(*double(pd_indexing, layers), seed, frames)
        reach = Reach(case.offsets, 0, case.frames, case.voice)
        for first, end in case.ranges(6):
            low, high = reach.frames_needed(first, end)
            assert 0 <= low <= first < end <= high <= frames
            outside = np.ones(frames, np.bool_)
            outside[low:high] = False
            assert not outside.any() or not case.heard(outside, first, end), (seed, first, end)


@pytest.mark.parametrize(("pd_indexing", "layers"), VOICES, ids=IDS)
def test_no_frame_is_asked_for_in_vain(pd_indexing: PdIndexing, layers: dict[str, Any]) -> None:
    """The gradient is 0 just where the network does not look, however small an influence is."""
    case = Case(*double(pd_indexing, layers), 0, f0=sung_f0)
    reach = Reach(case.offsets, 0, case.frames, case.voice)
    for first, end in case.ranges(3):
        low, high = reach.frames_needed(first, end)
        looked_at = np.flatnonzero(case.looked_at(first, end))
        assert low <= looked_at[0] <= low + 1, (first, end)
        assert high - 1 <= looked_at[-1] + 1 <= high, (first, end)


@pytest.mark.parametrize(("pd_indexing", "layers"), VOICES, ids=IDS)
@pytest.mark.parametrize("floor", [70.0, 400.0])
def test_at_the_floor_it_is_the_halo(pd_indexing: PdIndexing, layers: dict[str, Any], floor: float) -> None:
    voice, _ = small_voice(pd_indexing, **layers)
    halo = crop_plan(voice, 32, floor).halo
    offsets = tap_offsets(np.full(2000, lowest_f0(floor)), voice)
    low, high = Reach(offsets, 0, 2000, voice).frames_needed(1000, 1032)
    assert max(1000 - low, high - 1032) == halo


@pytest.mark.parametrize("pd_indexing", ["zero", "reflect"])
def test_larger_ranges_need_no_less(pd_indexing: PdIndexing) -> None:
    voice, _ = small_voice(pd_indexing)
    random = np.random.default_rng(5)
    offsets = tap_offsets(jumping_f0(random, FRAMES), voice)
    reach = Reach(offsets, 0, FRAMES, voice)
    for first in (0, 1, 77, 200):
        spans = [reach.frames_needed(first, end) for end in range(first + 1, FRAMES + 1)]
        assert all(a[0] >= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(spans))


def test_an_unknown_end_is_never_reached() -> None:
    """What is needed is the same when the end is known, unless it lies behind that end."""
    voice, _ = small_voice("reflect")
    offsets = tap_offsets(jumping_f0(np.random.default_rng(6), FRAMES), voice)
    for first, end in ((0, 10), (100, 140), (200, 250)):
        unknown = Reach(offsets, 0, None, voice).frames_needed(first, end)
        known = Reach(offsets, 0, FRAMES, voice).frames_needed(first, end)
        assert unknown == known if unknown[1] <= FRAMES else unknown[1] > known[1]

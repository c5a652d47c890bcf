"""The full-length generator, the reference of this project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_model

from preprocess.voice import PdIndexing
from sifigan_triton.network.generator import Generator
from sifigan_triton.network.indexing import tap_indices
from tests.small_voice import one_thread, random_inputs, run_generator, small_voice, tensors

MODES: list[PdIndexing] = ["reflect", "zero"]
VARIANTS = [
    pytest.param({}, id="default"),
    pytest.param({"share_upsamples": True, "share_downsamples": True}, id="shared"),
    pytest.param({"filter_additional_convs": True}, id="filter-additional"),
    pytest.param({"source_additional_convs": False}, id="no-source-additional"),
    pytest.param({"bias": False}, id="no-bias"),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("frames", [1, 2, 17])
@pytest.mark.parametrize("hyperparameters", VARIANTS)
def test_one_hop_a_frame(hyperparameters: dict[str, bool], frames: int, mode: PdIndexing) -> None:
    voice, generator = small_voice(mode, **hyperparameters)
    waveform = run_generator(generator, random_inputs(voice, frames))
    assert waveform.shape == (frames * voice.hop_size,)
    assert np.abs(waveform).max() <= 1.0


@pytest.mark.parametrize("scales", [(5, 4, 3, 2), (2, 3, 4, 5), (8, 5, 3, 2), (3, 3, 3, 3)], ids=str)
def test_any_scales_give_their_product_a_frame(scales: tuple[int, ...]) -> None:
    voice, generator = small_voice(upsample_scales=scales)
    waveform = run_generator(generator, random_inputs(voice, 7))
    assert waveform.size == 7 * int(np.prod(scales))


@pytest.mark.parametrize("mode", MODES)
@one_thread()
@torch.no_grad()
def test_each_item_of_a_batch_has_its_own_audio(mode: PdIndexing) -> None:
    voice, generator = small_voice(mode)
    items = [tensors(random_inputs(voice, 10, f0_floor)) for f0_floor in (200.0, 300.0, 450.0)]
    together = generator(*(torch.cat(values) for values in zip(*items, strict=True)))
    for alone, row in zip(items, together, strict=True):
        torch.testing.assert_close(generator(*alone)[0], row, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_taps_read_what_the_indices_say(mode: PdIndexing) -> None:
    """A pitch-dependent convolution of one channel, written out sample by sample."""
    _, generator = small_voice(mode, source_additional_convs=False)
    unit, length, distance = generator.source_stages[3][0], 60, 9
    hidden = torch.randn(1, 1, length, generator=torch.Generator().manual_seed(0))
    got = generator._source_unit(hidden, unit, torch.full((1, 1, length), distance))[0, 0]
    active = torch.where(hidden > 0, hidden, 0.1 * hidden)[0, 0].tolist()
    past, future = tap_indices(torch.arange(length), torch.tensor(distance), torch.tensor(length), mode)
    taps = unit.pitch_dependent
    for t in range(length):
        expected = sum(conv.bias.item() for conv in (taps.current, taps.past, taps.future))
        for conv, index in ((taps.current, t), (taps.past, int(past[t])), (taps.future, int(future[t]))):
            expected += conv.weight.item() * (active[index] if 0 <= index < length else 0.0)
        assert got[t].item() == pytest.approx(expected, abs=1e-5)


def test_modes_differ_at_the_ends_only() -> None:
    voice, reflect = small_voice("reflect")
    _, zero = small_voice("zero")
    inputs = random_inputs(voice, 240)
    difference = np.abs(run_generator(reflect, inputs) - run_generator(zero, inputs))
    middle = difference[100 * 120 : 140 * 120]
    assert difference.max() > 0.01
    np.testing.assert_array_equal(middle, 0.0)


@pytest.mark.parametrize(("sharing", "fewer"), [("share_upsamples", True), ("share_downsamples", True)])
def test_shared_layers_are_stored_once(sharing: str, fewer: bool, tmp_path: Path) -> None:
    own, shared = Generator(small_voice()[0].generator), small_voice(**{sharing: True})[1]
    assert (len(shared.state_dict()) < len(own.state_dict())) == fewer
    save_model(shared, str(tmp_path / "weights.safetensors"))  # refuses weights that are stored twice


def test_inputs_are_not_mutated() -> None:
    voice, generator = small_voice()
    given = random_inputs(voice, 12)
    run_generator(generator, given)
    for values, expected in zip(given, random_inputs(voice, 12), strict=True):
        np.testing.assert_array_equal(values, expected)

"""Which groups of layers stay in FP32."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sifigan_triton.build.gate import edge_utterance
from sifigan_triton.build.mixed_precision import GroupNoise, fewest_to_keep, format_groups, measure_groups
from sifigan_triton.network.precision import in_precision, layer_groups
from tests.small_voice import one_thread, run_generator, small_spec, small_voice

GROUPS = [GroupNoise("a", 50.0, 0.5), GroupNoise("b", 53.0, 0.3), GroupNoise("c", 60.0, 0.2)]
"""Together 48.0 dB; without a 52.2 dB; c alone 60 dB."""


@pytest.mark.parametrize(
    ("bound", "kept", "measured", "expected"),
    [
        pytest.param(47.0, 0, None, 0, id="none"),
        pytest.param(49.0, 0, None, 1, id="the-noisiest"),
        pytest.param(53.0, 0, None, 2, id="two"),
        pytest.param(61.0, 0, None, 3, id="all"),
        pytest.param(53.0, 0, 51.0, 1, id="runtime-with-half-the-noise"),
        pytest.param(49.0, 0, 41.0, 2, id="runtime-with-more-noise"),
        pytest.param(53.0, 1, 52.0, 2, id="second-try"),
    ],
)
def test_fewest_to_keep(bound: float, kept: int, measured: float | None, expected: int) -> None:
    assert fewest_to_keep(GROUPS, bound, kept, measured) == expected


def test_table_says_what_is_kept_and_what_it_costs() -> None:
    table = format_groups(GROUPS, ["a", "b"])
    assert "2 of 3 groups in FP32, 80.0% of the arithmetic; 60.0 dB by the sum of the others" in table
    assert [line.endswith("yes") for line in table.splitlines()[1:4]] == [True, True, False]


def test_groups_are_measured_alone_and_their_noise_adds_up() -> None:
    voice, generator = small_voice()
    spec = small_spec(voice, generator)
    utterance = edge_utterance(spec)
    with one_thread():
        groups = measure_groups(spec, utterance, torch.float16)
    assert {group.name for group in groups} == set(layer_groups(generator))
    assert [group.snr_db for group in groups] == sorted(group.snr_db for group in groups)
    assert sum(group.share for group in groups) == pytest.approx(1.0, abs=0.01)  # the last convolution is in no group
    reference = run_generator(generator, utterance.inputs).astype(np.float64)
    everything = run_generator(in_precision(generator, torch.float16), utterance.inputs)
    noise = np.sum((reference - everything) ** 2) / np.sum(reference**2)
    assert 0.5 < sum(group.noise for group in groups) / noise < 2.0

"""`postprocess` makes the outputs that are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from postprocess import make_outputs, merge, to_pcm16

WINDOWS = np.linspace(-1.0, 1.0, 2 * 960, dtype=np.float32).reshape(2, 1, 960)


@pytest.mark.parametrize(
    "wanted", [[], ["waveform"], ["pcm16"], ["waveform", "waveform_row", "pcm16"]], ids=lambda wanted: "+".join(wanted)
)
def test_outputs_are_those_asked_for(wanted: list[str]) -> None:
    waveform = merge(WINDOWS, 1080)
    expected = {"waveform": waveform, "waveform_row": waveform[None], "pcm16": to_pcm16(waveform)}
    made = make_outputs(WINDOWS, 1080, wanted)
    assert sorted(made) == sorted(wanted)
    for name, values in made.items():
        np.testing.assert_array_equal(values, expected[name])
        assert values.dtype == expected[name].dtype

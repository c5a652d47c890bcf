"""`postprocess` makes the outputs that are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from postprocess import SoundError, WindowsError, make_outputs, merge, to_pcm16

WINDOWS = np.linspace(-1.0, 1.0, 2 * 960, dtype=np.float32).reshape(2, 1, 960)


@pytest.mark.parametrize(
    "wanted", [[], ["waveform"], ["pcm16"], ["waveform", "waveform_row", "pcm16"]], ids=lambda wanted: "+".join(wanted)
)
def test_outputs_are_those_asked_for(wanted: list[str]) -> None:
    waveform = merge(WINDOWS, 1080)
    expected = {"waveform": waveform, "waveform_row": waveform[None], "pcm16": to_pcm16(waveform)}
    made = make_outputs(WINDOWS, 1080, wanted, 120)
    assert sorted(made) == sorted(wanted)
    for name, values in made.items():
        np.testing.assert_array_equal(values, expected[name])
        assert values.dtype == expected[name].dtype


@pytest.mark.parametrize("samples", [-5, 0, 1921, 2**62], ids=str)
def test_samples_that_the_windows_do_not_hold_are_refused(samples: int) -> None:
    with pytest.raises(WindowsError, match=rf"samples is {samples}, expected 1 to 1920, .* \[2, 1, 960\]"):
        make_outputs(WINDOWS, samples, ["waveform"], 120)


def test_no_windows_are_refused() -> None:
    with pytest.raises(WindowsError, match="samples is 1, expected 1 to 0"):
        make_outputs(WINDOWS[:0], 1, ["waveform"], 120)


@pytest.mark.parametrize("wanted", [["waveform"], ["pcm16"], ["waveform_row"]], ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_no_output_is_made_of_what_is_not_finite(value: float, wanted: list[str]) -> None:
    windows = WINDOWS.copy()
    windows[0, 0, [613, 700]] = value
    message = rf"waveform is {value} at frame 5 \(sample 613\), expected finite samples \(2 of 1080 are NaN or Inf\)"
    with pytest.raises(SoundError, match=message):
        make_outputs(windows, 1080, wanted, 120)


def test_what_lies_behind_the_utterance_need_not_be_finite() -> None:
    windows = WINDOWS.copy()
    windows[1, 0, 120:] = np.nan
    made = make_outputs(windows, 1080, ["waveform"], 120)
    np.testing.assert_array_equal(made["waveform"], WINDOWS.reshape(-1)[:1080])


def test_the_largest_numbers_are_finite() -> None:
    windows = np.full((1, 1, 960), np.finfo(np.float32).max, np.float32)
    assert make_outputs(windows, 960, ["waveform"], 120)["waveform"].size == 960

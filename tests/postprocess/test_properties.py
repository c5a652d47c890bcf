"""What holds for every waveform. Derandomized: the same examples in every run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from postprocess import SoundError, WindowsError, make_outputs, merge, to_pcm16
from preprocess import Settings
from preprocess.windows import split
from tests.small_voice import small_voice

VOICE = small_voice()[0]
HOP = VOICE.hop_size
EXAMPLES = settings(max_examples=100, derandomize=True, database=None, deadline=None)
OUTPUTS = ("waveform", "waveform_row", "pcm16")


@EXAMPLES
@given(frames=st.integers(1, 300), window=st.integers(1, 64), halo=st.integers(0, 40))
def test_merge_undoes_the_windows(frames: int, window: int, halo: int) -> None:
    """An engine that hands on its window's own samples makes the waveform that was cut."""
    whole = np.arange(frames * HOP, dtype=np.float32)[None]
    features, offsets = np.zeros((1, frames), np.float32), np.ones((1, frames), np.int32)
    cut = split(whole, features, offsets, Settings(VOICE, window, halo, 100.0, max_batch_size=512)).excitation
    middles = cut[:, :, halo * HOP : (halo + window) * HOP]
    np.testing.assert_array_equal(merge(middles, frames * HOP), whole[0])


@EXAMPLES
@given(arrays(np.float32, st.integers(1, 50), elements=st.floats(-4.0, 4.0, width=32)))
@example(np.array([1.0, -1.0, 1.00003, -1.00003, 1.00005, -1.00005], np.float32))
def test_pcm16_is_the_nearest_step_or_the_end_of_the_range(waveform: npt.NDArray[np.float32]) -> None:
    pcm16 = to_pcm16(waveform)
    exact = waveform.astype(np.float64) * 32767.0
    assert pcm16.dtype == np.int16
    assert np.abs(pcm16 - exact.clip(-32768.0, 32767.0)).max() <= 0.5 + 2.0**-8  # the product is made in FP32
    assert (pcm16[exact >= 32767.5] == 32767).all()
    assert (pcm16[exact <= -32768.5] == -32768).all()


@EXAMPLES
@given(arrays(np.float32, st.integers(1, 50), elements=st.floats(width=32)))
def test_outputs_are_finite_or_an_error(waveform: npt.NDArray[np.float32]) -> None:
    windows = waveform.reshape(1, 1, -1)
    if not np.isfinite(waveform).all():
        with pytest.raises(SoundError):
            make_outputs(windows, waveform.size, OUTPUTS, HOP)
        return
    made = make_outputs(windows, waveform.size, OUTPUTS, HOP)
    np.testing.assert_array_equal(made["waveform"], waveform)
    assert ((made["pcm16"] >= 0) | (waveform < 0.0)).all()


@EXAMPLES
@given(
    shape=st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 50)),
    samples=st.one_of(st.integers(-3, 250), st.sampled_from([2**31, 2**62, -(2**63)])),
)
def test_merge_gives_as_many_samples_as_are_asked_for_or_an_error(shape: tuple[int, int, int], samples: int) -> None:
    windows = np.zeros(shape, np.float32)
    if 1 <= samples <= windows.size:
        assert merge(windows, samples).shape == (samples,)
        return
    with pytest.raises(WindowsError, match=f"samples is {samples}, expected 1 to {windows.size}"):
        merge(windows, samples)

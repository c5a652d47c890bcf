"""Windows -> waveform and 16-bit samples."""

from __future__ import annotations

import numpy as np
import pytest

from postprocess import WindowsError, merge, to_pcm16


@pytest.mark.parametrize(
    ("count", "samples"), [(1, 120), (1, 960), (2, 1080), (3, 2880)], ids=["frame", "window", "rest", "full"]
)
def test_merge_lays_windows_end_to_end(count: int, samples: int) -> None:
    windows = np.arange(count * 960, dtype=np.float32).reshape(count, 1, 960)
    waveform = merge(windows, samples)
    np.testing.assert_array_equal(waveform, np.arange(samples))
    assert waveform.dtype == np.float32
    assert np.shares_memory(waveform, windows)


def test_merge_may_begin_later() -> None:
    windows = np.arange(1920, dtype=np.float32).reshape(2, 1, 960)
    np.testing.assert_array_equal(merge(windows, 600, 1320), np.arange(1320, 1920))


@pytest.mark.parametrize(
    ("samples", "first", "message"),
    [
        (1, -1, "first_sample is -1, expected 0 to 959"),
        (1, 960, "first_sample is 960, expected 0 to 959"),
        (601, 360, "samples is 601, expected 1 to 600"),
    ],
)
def test_merge_stays_within_the_windows(samples: int, first: int, message: str) -> None:
    with pytest.raises(WindowsError, match=message):
        merge(np.zeros((1, 1, 960), np.float32), samples, first)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(0.0, 0, id="zero"),
        pytest.param(1.0, 32767, id="full-scale"),
        pytest.param(-1.0, -32767, id="negative-full-scale"),
        pytest.param(0.6 / 32767, 1, id="rounded-up"),
        pytest.param(-0.6 / 32767, -1, id="rounded-down"),
        pytest.param(0.4 / 32767, 0, id="rounded-to-zero"),
        pytest.param(1.5, 32767, id="clipped"),
        pytest.param(-1.5, -32768, id="clipped-below"),
    ],
)
def test_pcm16_values(value: float, expected: int) -> None:
    pcm16 = to_pcm16(np.array([value], np.float32))
    assert pcm16.tolist() == [expected]
    assert pcm16.dtype == np.int16


def test_pcm16_is_within_half_a_step() -> None:
    waveform = np.random.default_rng(0).uniform(-1.0, 1.0, 10000).astype(np.float32)
    before = waveform.copy()
    assert np.abs(to_pcm16(waveform) - waveform.astype(np.float64) * 32767.0).max() <= 0.5 + 1e-3
    np.testing.assert_array_equal(waveform, before)

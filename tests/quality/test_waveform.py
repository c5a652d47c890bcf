"""Metrics of level and spectrum whose values are known exactly."""

from __future__ import annotations

import numpy as np
import pytest

from sifigan_triton.quality.waveform import (
    loudness_difference_lu,
    min_samples,
    peak_difference_db,
    snr_db,
    stft_distance,
)
from tests.quality_clips import RATE, clip, with_error


@pytest.mark.parametrize("expected", [40.0, 73.0])
def test_snr_of_a_known_error(expected: float) -> None:
    assert snr_db(clip(), with_error(clip(), expected)) == pytest.approx(expected, abs=1e-9)


def test_snr_of_equal_and_of_broken_waveforms() -> None:
    assert snr_db(clip(), clip()) == np.inf
    broken = clip().copy()
    broken[7] = np.nan
    assert np.isnan(snr_db(clip(), broken))


def test_snr_is_computed_in_double_precision() -> None:
    reference = np.ones(1 << 16, np.float32)
    assert snr_db(reference, reference * np.float32(1.0 + 2.0**-20)) == pytest.approx(120.4, abs=0.1)
    loud = np.full(9, 1000.0, np.float16)  # its square is no FP16 number
    assert snr_db(loud, loud + np.float16(10.0)) == pytest.approx(40.0)


@pytest.mark.parametrize("gain", [0.5, 1.1, 2.0])
def test_a_gain_changes_loudness_and_peak_by_itself(gain: float) -> None:
    expected = 20.0 * np.log10(gain)
    assert loudness_difference_lu(clip(), gain * clip(), RATE) == pytest.approx(expected, abs=1e-9)
    assert peak_difference_db(clip(), gain * clip()) == pytest.approx(expected, abs=1e-9)


def test_loudness_weighs_frequencies() -> None:
    """BS.1770's K-weighting has a shelf of 4 dB: 4 kHz counts so much more than 500 Hz of the same power."""
    low, high = (np.sin(2.0 * np.pi * f * np.arange(RATE) / RATE) for f in (500.0, 4000.0))
    assert loudness_difference_lu(low, high, RATE) == pytest.approx(4.0, abs=0.3)


def test_silence_and_short_waveforms_have_no_loudness() -> None:
    assert loudness_difference_lu(clip(), np.zeros(48000), RATE) == -np.inf
    assert peak_difference_db(clip(), np.zeros(48000)) == -np.inf
    assert loudness_difference_lu(np.zeros(48000), clip(), RATE) is None
    assert loudness_difference_lu(clip()[:9000], clip()[:9000], RATE) is None


@pytest.mark.parametrize("gain", [0.5, 1.25])
def test_stft_distance_of_a_gain(gain: float) -> None:
    """Each magnitude changes by the gain: |1 - g| of convergence and |ln g| of log-magnitude, at every resolution."""
    noise = np.random.default_rng(0).standard_normal(RATE)
    assert stft_distance(noise, gain * noise) == pytest.approx(abs(1.0 - gain) + abs(np.log(gain)), rel=1e-6)
    assert stft_distance(noise, noise) == 0.0


def test_stft_distance_grows_with_the_error() -> None:
    distances = [stft_distance(clip(), with_error(clip(), snr)) for snr in (70.0, 50.0, 30.0)]
    assert distances == sorted(distances)
    assert stft_distance(clip()[: min_samples()], clip()[: min_samples()]) == 0.0

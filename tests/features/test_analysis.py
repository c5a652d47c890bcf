"""Analysis of signals whose features are known."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyworld
import soundfile
from numpy.typing import NDArray

from preprocess.voice import AnalysisSettings
from sifigan_triton.features.analysis import AnalysisError, analyze, analyze_recording, highpass, mend_frames
from sifigan_triton.features.features import Features
from sifigan_triton.features.melcepstrum import mc2sp
from tests.small_voice import small_voice

RATE = 24000
HOP = 120
SETTINGS = AnalysisSettings()
FORMANTS = ((700.0, 80.0), (1200.0, 90.0), (2600.0, 120.0))


def vowel(f0: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make a vowel-like sound: harmonics of `f0` (one value a sample, Hz) below 8 kHz, weighted by three formants."""
    phase = 2.0 * np.pi * np.cumsum(f0) / RATE
    sound = np.zeros(len(f0))
    for number in range(1, int(8000.0 / f0.max()) + 1):
        hz = number * f0
        gain = sum(1.0 / (1.0 + ((hz - centre) / width) ** 2) for centre, width in FORMANTS) + 0.01
        sound += gain * np.sin(number * phase)
    return 0.5 * sound / np.abs(sound).max()


def run(waveform: NDArray[np.float64], settings: AnalysisSettings = SETTINGS) -> Features:
    """Analyse with the default rate and hop."""
    return analyze(waveform, RATE, settings, HOP)


@pytest.mark.parametrize("hz", [90.0, 150.0, 260.0, 440.0, 700.0])
def test_finds_a_constant_f0(hz: float) -> None:
    inner = run(vowel(np.full(RATE, hz))).f0[20:-20]
    assert np.all(np.abs(inner / hz - 1.0) < 0.01)


def test_follows_a_glide() -> None:
    track = np.geomspace(120.0, 360.0, RATE)
    features = run(vowel(track))
    frames = np.arange(20, features.frames - 20)
    delay = 127  # samples, of the high-pass filter
    assert np.all(np.abs(features.f0[frames] / track[frames * HOP - delay] - 1.0) < 0.01)


def test_envelope_has_its_peak_at_the_strongest_formant() -> None:
    features = run(vowel(np.full(RATE, 140.0)))  # its fifth harmonic is the first formant
    spectrum = mc2sp(features.mcep[100:101].astype(np.float64), SETTINGS.all_pass_alpha, 1024)[0]
    assert abs(np.argmax(spectrum) * RATE / 1024 - 700.0) < 60.0


def test_breath_is_more_aperiodic_than_a_vowel() -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.1, RATE)
    assert run(noise).bap[20:-20].mean() > run(vowel(np.full(RATE, 150.0))).bap[20:-20].mean() + 3.0


@pytest.mark.parametrize("waveform", [np.zeros(RATE), np.full(RATE, 1e-9)], ids=["zeros", "constant"])
def test_silence(waveform: NDArray[np.float64]) -> None:
    features = run(waveform)
    assert np.all(features.f0 == 0.0)
    assert np.isfinite(features.mcep).all()
    assert np.isfinite(features.bap).all()


@pytest.mark.parametrize("samples", [1, 2, 119, 120, 121, 240, 1000, 24000, 24119])
def test_number_of_frames(samples: int) -> None:
    features = run(np.random.default_rng(samples).normal(0.0, 0.1, samples))
    assert features.frames == samples // HOP + 1
    assert features.mcep.shape == (features.frames, 40)
    assert features.bap.shape == (features.frames, 3)
    assert np.isfinite(features.mcep).all()
    assert np.isfinite(features.bap).all()
    assert (features.sample_rate, features.frame_period_ms) == (RATE, 5.0)


def test_another_rate_order_and_hop() -> None:
    settings = replace(SETTINGS, mcep_order=24, all_pass_alpha=0.554)
    features = analyze(vowel(np.full(RATE, 200.0)), 48000, settings, 240)  # played twice as fast: 400 Hz
    assert features.mcep.shape == (RATE // 240 + 1, 25)
    assert features.bap.shape == (features.frames, 5)
    assert np.all(np.abs(features.f0[20:-20] / 400.0 - 1.0) < 0.01)


def test_same_input_same_features_and_input_unchanged() -> None:
    waveform = vowel(np.full(RATE // 2, 180.0)) + np.random.default_rng(3).normal(0.0, 0.01, RATE // 2)
    before = waveform.copy()
    first = run(waveform)
    run(np.random.default_rng(4).normal(0.0, 0.1, 5000))  # must leave no state behind
    second = run(waveform)
    for name in ("f0", "mcep", "bap"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert np.array_equal(waveform, before)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(replace(SETTINGS, f0_floor=200.0), id="below-the-floor"),
        pytest.param(replace(SETTINGS, f0_ceiling=120.0), id="above-the-ceiling"),
    ],
)
def test_f0_range_is_kept(settings: AnalysisSettings) -> None:
    f0 = run(vowel(np.full(RATE, 150.0)), settings).f0
    assert np.all((f0 == 0.0) | ((f0 >= settings.f0_floor) & (f0 <= settings.f0_ceiling)))


def test_highpass_is_the_windowed_sinc_of_the_public_extraction() -> None:
    n = np.arange(255) - 127.0
    cutoff = 70.0 / 12000.0
    taps = (np.sinc(n) - cutoff * np.sinc(cutoff * n)) * np.hamming(255)
    taps /= np.abs(np.sum(taps * (-1.0) ** np.arange(255)))  # unit gain at the Nyquist frequency
    impulse = np.zeros(300)
    impulse[0] = 1.0
    response = highpass(impulse, RATE, 70.0)
    np.testing.assert_allclose(response[:255], taps, rtol=0.0, atol=1e-12)
    assert np.array_equal(response[255:], np.zeros(45))


def test_highpass_can_be_switched_off() -> None:
    waveform = np.random.default_rng(0).normal(size=100)
    assert np.array_equal(highpass(waveform, RATE, 0.0), waveform)
    quiet = run(vowel(np.full(RATE // 2, 150.0)) + 0.3 * np.sin(2.0 * np.pi * 20.0 * np.arange(RATE // 2) / RATE))
    assert np.all(np.abs(quiet.f0[20:-20] / 150.0 - 1.0) < 0.01)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        pytest.param([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], id="nothing"),
        pytest.param([NAN, 2.0, 3.0], [2.0, 2.0, 3.0], id="start"),
        pytest.param([1.0, 2.0, INF], [1.0, 2.0, 2.0], id="end"),
        pytest.param([1.0, NAN, 3.0], [1.0, 1.0, 3.0], id="tie-takes-the-earlier"),
        pytest.param([1.0, NAN, NAN, -INF, 5.0], [1.0, 1.0, 1.0, 5.0, 5.0], id="run"),
        pytest.param([NAN, NAN], [0.0, 0.0], id="everything"),
    ],
)
def test_mending(column: list[float], expected: list[float]) -> None:
    bap = np.stack([np.array(column), np.arange(len(column), dtype=float)], axis=1)  # second band is finite
    before = bap.copy()
    mended, count = mend_frames(bap)
    assert mended[:, 0].tolist() == expected
    assert np.isfinite(mended).all()
    assert count == np.count_nonzero(~np.isfinite(column))
    assert np.array_equal(bap, before, equal_nan=True)


def test_mended_frames_are_whole() -> None:
    mended, _ = mend_frames(np.array([[1.0, 10.0], [NAN, 20.0], [3.0, 30.0]]))
    assert mended[1].tolist() == [1.0, 10.0]


def test_nan_of_d4c_is_mended_and_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    waveform = vowel(np.full(RATE // 2, 180.0))
    whole = run(waveform)
    original = pyworld.d4c

    def broken(*arguments: object, **options: object) -> NDArray[np.float64]:
        aperiodicity: NDArray[np.float64] = original(*arguments, **options)
        aperiodicity[[30, 31], :] = np.nan
        return aperiodicity

    monkeypatch.setattr(pyworld, "d4c", broken)
    with caplog.at_level(logging.WARNING):
        features = run(waveform)
    assert "band aperiodicity of 2 of 101 frames was not finite" in caplog.text
    assert np.array_equal(features.bap[30:32], whole.bap[[29, 32]])
    assert np.array_equal(np.delete(features.bap, [30, 31], axis=0), np.delete(whole.bap, [30, 31], axis=0))


@pytest.mark.parametrize(
    ("waveform", "rate", "hop", "message"),
    [
        pytest.param(np.zeros((2, 100)), RATE, HOP, r"waveform has shape \(2, 100\), expected one channel", id="rank"),
        pytest.param(np.zeros(0), RATE, HOP, r"waveform has shape \(0,\)", id="empty"),
        pytest.param(np.zeros(100, np.int16), RATE, HOP, "waveform is int16, expected float64", id="dtype"),
        pytest.param(np.array([0.0, NAN]), RATE, HOP, "1 samples .* NaN or infinite, the first is sample 1", id="nan"),
        pytest.param(np.zeros(100), 8000, HOP, "sample_rate is 8000 Hz, expected at least 12000 Hz", id="rate"),
        pytest.param(np.zeros(100), RATE, 0, "hop_size is 0, expected at least 1 sample", id="hop"),
    ],
)
def test_unusable_waveform(waveform: NDArray[np.float64], rate: int, hop: int, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        analyze(waveform, rate, SETTINGS, hop)


def test_f0_never_lies_below_the_floor_it_was_given() -> None:
    """Harvest's smoothing may undershoot its floor, which an engine built for that floor would refuse."""
    seconds = np.arange(2 * 24000) / 24000
    hertz = np.geomspace(100.0, 65.0, seconds.size)
    phase = 2.0 * np.pi * np.cumsum(hertz) / 24000
    waveform = sum(np.sin(k * phase) / k for k in range(1, 20)) * 0.1
    f0 = analyze(waveform, 24000, AnalysisSettings(), 120).f0
    assert f0[f0 > 0.0].min() >= AnalysisSettings().f0_floor


def test_recording_is_analysed_as_its_voice_asks(tmp_path: Path) -> None:
    waveform = vowel(np.full(RATE // 4, 220.0))
    soundfile.write(tmp_path / "in.wav", waveform, RATE, subtype="DOUBLE")
    usual = analyze_recording(tmp_path / "in.wav")
    assert np.array_equal(usual.mcep, analyze(waveform, RATE, AnalysisSettings(), HOP).mcep)
    voice, _ = small_voice()
    other = replace(voice, analysis=AnalysisSettings(mcep_order=24), sample_rate=16000)
    found = analyze_recording(tmp_path / "in.wav", other)
    assert found.mcep.shape[1] == 25
    assert (found.sample_rate, found.frame_period_ms) == (16000, 7.5)

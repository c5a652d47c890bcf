"""F0 errors: known differences, and estimates that repeat themselves."""

from __future__ import annotations

import numpy as np
import pytest

from preprocess.voice import AnalysisSettings
from sifigan_triton.quality import pitch
from sifigan_triton.quality.method import Method
from sifigan_triton.quality.pair import QualityError
from sifigan_triton.quality.pitch import Following, PitchErrors, dio, harvest
from tests.quality_clips import FRAMES, HOP, RATE, clip, resynthesis, with_error, world

SETTINGS = AnalysisSettings()


def test_errors_of_known_contours() -> None:
    errors = PitchErrors.of(np.array([0.0, 100.0, 200.0, 300.0, 0.0]), np.array([0.0, 110.0, 200.0, 0.0, 50.0, 7.0]))
    assert (errors.frames, errors.voicing_errors, errors.both_voiced) == (5, 2, 2)
    assert errors.vuv_percent == pytest.approx(40.0)
    assert errors.log_f0_rmse == pytest.approx(np.log(1.1) / np.sqrt(2.0))


def test_errors_add_up_over_utterances() -> None:
    first, second = np.array([100.0, 100.0, 0.0]), np.array([100.0])
    together = PitchErrors.of(first, 1.2 * first) + PitchErrors.of(second, 0.0 * second)
    assert together.vuv_percent == pytest.approx(25.0)
    assert together.log_f0_rmse == pytest.approx(np.log(1.2))
    assert PitchErrors().vuv_percent is None
    assert PitchErrors.of(0.0 * first, first).log_f0_rmse is None


@pytest.mark.parametrize("factor", [1.0594630943592953, 1.5], ids=["semitone", "fifth"])
@pytest.mark.parametrize("estimate", [dio, harvest])
def test_a_moved_resynthesis_differs_by_the_factor(estimate: type, factor: float) -> None:
    contours = [estimate(resynthesis(f), RATE, HOP, SETTINGS) for f in (1.0, factor)]
    both = (contours[0] > 0.0) & (contours[1] > 0.0)
    assert both.sum() > 200
    assert np.median(np.log(contours[1][both] / contours[0][both])) == pytest.approx(np.log(factor), rel=0.02)
    if estimate is dio:
        assert PitchErrors.of(*contours).log_f0_rmse == pytest.approx(np.log(factor), rel=0.1)


@pytest.mark.parametrize("snr", [73.0, 50.0])
def test_dio_reads_a_nearly_equal_copy_alike(snr: float) -> None:
    reference = resynthesis()
    errors = PitchErrors.of(*(dio(w, RATE, HOP, SETTINGS) for w in (reference, with_error(reference, snr))))
    assert errors.frames == FRAMES + 1
    assert errors.vuv_percent == 0.0
    assert errors.log_f0_rmse is not None
    assert errors.log_f0_rmse < 0.001


def test_voicing_changes_where_both_estimators_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parity: DIO's flips count only where Harvest flips as well; up to one frame in a thousand it is not asked."""
    own, other = np.full(1000, 200.0), np.full(1000, 200.0)
    other[:20] = 0.0
    answers = [np.full(1000, 150.0), np.r_[np.full(15, 150.0), np.zeros(985)]]
    monkeypatch.setattr(pitch, "harvest", lambda *arguments: answers[int(arguments[0][0])])
    waveforms = np.array([0.0]), np.array([1.0])
    assert Method().pitch_errors(waveforms, (own, other), None).voicing_errors == 5
    assert Method("recording").pitch_errors(waveforms, (own, other), None).voicing_errors == 20
    other[1:20] = 200.0
    assert Method().pitch_errors(waveforms, (own, other), None).voicing_errors == 1


def test_f0_is_compared_only_where_it_was_asked_for() -> None:
    asked = np.r_[np.full(90, 200.0), np.zeros(10)]
    waveforms = np.zeros(1), np.zeros(1)
    own, other = np.full(101, 200.0), np.r_[np.full(90, 200.0), np.full(11, 90.0)]  # one frame more, as DIO has it
    assert Method().pitch_errors(waveforms, (own, other), asked).log_f0_rmse == 0.0
    other[5] = 100.0
    errors = Method().pitch_errors(waveforms, (own, other), asked)
    assert errors.both_voiced == 90
    assert errors.log_f0_rmse == pytest.approx(np.log(2.0) / np.sqrt(90.0))
    assert Method().pitch_errors(waveforms, (own[:50], other), asked).both_voiced == 50  # and when more was asked for
    assert Method().pitch_errors(waveforms, (own, other), None).both_voiced == 101
    assert Method("recording").pitch_errors(waveforms, (own, other), asked).both_voiced == 101


def test_a_voiced_stretch_turned_to_noise_is_seen() -> None:
    noisy = clip().copy()
    voiced = int(np.flatnonzero(np.convolve(world()[0] > 0.0, np.ones(40), "valid") == 40)[0]) * HOP
    stretch = slice(voiced, voiced + 40 * HOP)  # 200 ms
    noisy[stretch] = np.random.default_rng(0).standard_normal(40 * HOP) * np.std(clip()[stretch])
    contours = Method().f0(clip()), Method().f0(noisy)
    errors = Method().pitch_errors((clip(), noisy), contours, None)
    assert errors.vuv_percent is not None
    assert errors.vuv_percent > 1.0


def test_a_recording_follows_itself_and_noise_does_not() -> None:
    f0 = world()[0]
    assert Following.of(f0, dio(clip(), RATE, HOP, SETTINGS)).share > 0.9
    noise = np.random.default_rng(0).standard_normal(FRAMES * HOP)
    assert Following.of(f0, dio(noise, RATE, HOP, SETTINGS)).share < 0.5
    assert Following.of(f0, 1.19 * f0).share == 1.0
    assert Following.of(f0, 1.21 * f0).share == 0.0
    assert Following().share == 1.0


def test_a_low_f0_that_was_asked_for_widens_the_range() -> None:
    low = resynthesis(0.25)  # from some 200 Hz to 50 Hz, below the analysis' floor of 71 Hz
    asked = 0.25 * world()[0]
    assert Following.of(asked, Method().f0(low)).share < 0.5
    assert Following.of(asked, Method().f0(low, asked)).share > 0.75


def test_method_refuses_a_range_that_hides_everything() -> None:
    with pytest.raises(QualityError, match=r"range_db is 0, expected a positive number of dB"):
        Method(range_db=0.0)

"""The quality gate: what passes, what fails, and what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from preprocess import condition
from sifigan_triton.quality import comparison
from sifigan_triton.quality.bounds import Bounds
from sifigan_triton.quality.comparison import METRICS, Scores, compare
from sifigan_triton.quality.envelope import audible, envelopes, mel_cepstral_distortion_db
from sifigan_triton.quality.method import Method
from sifigan_triton.quality.pair import Pair, QualityError
from sifigan_triton.quality.pitch import Following, PitchErrors
from sifigan_triton.quality.verdict import Verdict, judge
from sifigan_triton.quality.visqol import visqol
from sifigan_triton.voice.folder import random_voice
from tests.quality_clips import FRAMES, HOP, Array, clip, resynthesis, with_error, world
from tests.small_voice import random_features, run_generator


def pair(test: Array, name: str = "clip") -> Pair:
    return Pair(name, world()[0].astype(np.float32), clip().astype(np.float32), test.astype(np.float32))


def test_fp16_rounding_of_a_recording_passes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "sifigan_triton")
    verdict = judge([pair(clip().astype(np.float16))], "fp16")
    values = verdict.scores[0].values
    assert verdict.passed, verdict.table()
    assert values["snr"] == pytest.approx(73.0, abs=1.0)
    assert values["mcd"] is not None
    assert values["mcd"] < 0.1
    assert values["visqol"] == pytest.approx(4.73, abs=0.01)
    assert (values["vuv"], verdict.pitched, caplog.messages) == (0.0, True, ["comparing clip"])
    assert verdict.following is not None
    assert verdict.following.share > 0.9


def test_metrics_fall_with_the_snr_and_an_audible_error_is_refused() -> None:
    scores = [judge([pair(with_error(clip(), snr))], "fp16") for snr in (66.0, 58.0)]
    assert [verdict.passed for verdict in scores] == [True, False]
    good, bad = (verdict.overall for verdict in scores)
    for metric in METRICS:
        if metric.name in ("mcd", "envelope", "stft"):
            assert (good[metric.name] or 0.0) < (bad[metric.name] or 0.0)
    assert any(reason.startswith("clip: envelope is ") for reason in scores[1].reasons)
    assert "dB, expected at most 1 dB" in scores[1].table()


@pytest.mark.parametrize("known", [True, False], ids=["asked for", "estimated"])
def test_parity_takes_both_envelopes_with_one_f0(known: bool) -> None:
    """The F0 of the request, or that of the reference; never that of the test waveform, here a fifth higher."""
    moved = resynthesis(1.5)
    f0 = 0.97 * world()[0] if known else None
    scores = compare(Pair("moved", f0, clip(), moved), Method())
    shared = Method().f0(clip()) if f0 is None else f0
    spectra = audible(*(envelopes(waveform, shared, 24000, HOP) for waveform in (clip(), moved)))
    assert scores.values["mcd"] == mel_cepstral_distortion_db(*spectra)
    own = audible(envelopes(clip(), shared, 24000, HOP), envelopes(moved, 1.5 * shared, 24000, HOP))
    assert scores.values["mcd"] != pytest.approx(mel_cepstral_distortion_db(*own), rel=0.01)


def test_one_nan_fails_and_is_named() -> None:
    broken = clip().copy()
    broken[123] = np.nan
    verdict = judge([pair(broken)], "fp16", Bounds())
    assert verdict.reasons == ["clip: 1 samples are NaN or infinite, the first is sample 123, expected none"]
    assert not verdict.passed
    assert verdict.as_dict()["utterances"][0]["non_finite_samples"] == 1
    assert "FAILED  clip: 1 samples are NaN" in verdict.table()


def test_a_dead_engine_fails() -> None:
    verdict = judge([pair(0.0 * clip())], "bf16")
    assert verdict.scores[0].values["snr"] == 0.0
    assert verdict.scores[0].values["visqol"] == 1.0
    assert not verdict.passed
    json.dumps(verdict.as_dict(), allow_nan=False)


def test_a_voice_of_random_weights_is_judged_by_finiteness_and_snr() -> None:
    voice, generator = random_voice(channels=64)
    f0 = world()[0].astype(np.float32)
    reference = run_generator(generator, condition(f0, *random_features(voice, FRAMES), voice))
    verdict = judge([Pair("noise", f0, reference, with_error(reference, 52.0))], "fp16")
    assert not verdict.pitched
    assert verdict.passed
    assert verdict.scores[0].values["visqol"] is None
    assert verdict.scores[0].values["mcd"] is None
    assert "its output is noise, judged by finite samples and SNR only" in verdict.table()
    assert verdict.as_dict()["pitched"] is False
    assert not judge([Pair("noise", f0, reference, with_error(reference, 48.0))], "fp16").passed


def test_seeded_features_are_judged_by_finiteness_and_snr_without_a_remark() -> None:
    """A test signal that nobody takes for a voice: that it has no pitch is no news."""
    verdict = judge([pair(with_error(clip(), 52.0))], "fp16", seeded=True)
    assert (verdict.pitched, verdict.passed, verdict.notes) == (False, True, [])
    assert verdict.overall["visqol"] is None
    assert not judge([pair(with_error(clip(), 48.0))], "fp16", seeded=True).passed


def test_a_recording_against_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vocoder's waveform has other phases: no SNR, and some 2 dB of MCD."""
    sought: list[bool] = []
    monkeypatch.setattr(
        comparison, "visqol", lambda *args, aligned: [sought.append(not aligned), visqol(*args, aligned=aligned)][1]
    )
    verdict = judge([Pair("world", None, clip(), resynthesis()[:-600])], method=Method("recording"))
    values = verdict.overall
    assert verdict.passed
    assert values["snr"] is None
    assert values["mcd"] is not None
    assert 1.0 < values["mcd"] < 4.0
    assert values["visqol"] is not None
    assert 4.0 < values["visqol"] < 4.73
    assert verdict.scores[0].seconds == pytest.approx(1.975)
    assert sought == [True], "the whole signal is searched"
    waveforms, method = (clip()[:-600], resynthesis()[:-600]), Method("recording")
    contours = method.f0(clip())[:396], method.f0(waveforms[1])  # each waveform has its own F0
    own = (envelopes(waveform, f0, 24000, HOP) for waveform, f0 in zip(waveforms, contours, strict=True))
    assert values["mcd"] == mel_cepstral_distortion_db(*audible(*own))
    assert "world: the last 0.03 s of the longer waveform are not compared" in verdict.notes
    assert any("phases differ" in note for note in verdict.notes)


def scores(name: str, errors: PitchErrors, **values: float | None) -> Scores:
    everything = dict.fromkeys((metric.name for metric in METRICS), None) | values
    return Scores(name, 1.0, 0.0, everything | {"log_f0": errors.log_f0_rmse, "vuv": errors.vuv_percent}, errors)


def test_shares_of_frames_are_bounded_over_all_utterances() -> None:
    """One frame in 37 is 2.7 %, but one in 1,037 is not much."""
    short, long = scores("short", PitchErrors(37, 1, 30, 0.0)), scores("long", PitchErrors(1000, 0, 900, 0.0))
    assert Verdict(Method(), Bounds(vuv=0.5), (short, long)).passed
    alone = Verdict(Method(), Bounds(vuv=0.5), (short,))
    assert alone.reasons == ["short: vuv is 2.70 %, expected at most 0.5 %"]
    worse = scores("worse", PitchErrors(1000, 9, 900, 0.0))
    assert Verdict(Method(), Bounds(vuv=0.5), (worse, short)).reasons == [
        "all utterances: vuv is 0.96 %, expected at most 0.5 %"
    ]


def test_the_worst_utterance_decides_and_signs_do_not_matter() -> None:
    rows = tuple(scores(n, PitchErrors(), snr=snr, loudness=lu) for n, snr, lu in (("a", 60.0, -1.0), ("b", 45.0, 0.5)))
    verdict = Verdict(Method(), Bounds(snr=50.0, loudness=0.6), rows)
    assert verdict.overall["snr"] == 45.0
    assert verdict.overall["loudness"] == -1.0
    assert verdict.reasons == [
        "b: snr is 45.0 dB, expected at least 50 dB",
        "a: loudness is -1.00 LU, expected at most 0.6 LU",
    ]


@pytest.mark.parametrize(
    ("following", "pitched"),
    [(None, True), (Following(19, 0), True), (Following(100, 74), False), (Following(100, 75), True)],
    ids=["unknown", "too few frames", "noise", "voice"],
)
def test_what_counts_as_noise(following: Following | None, pitched: bool) -> None:
    verdict = Verdict(Method(), Bounds(mcd=1.0), (scores("a", PitchErrors(), mcd=2.0),), following)
    assert verdict.pitched is pitched
    assert verdict.passed is not pitched


def test_as_dict_holds_everything_and_is_json() -> None:
    verdict = judge([pair(clip())], "fp32")
    shown = json.loads(json.dumps(verdict.as_dict(), allow_nan=False))
    assert shown["passed"] is True
    assert shown["bounds"]["snr"] == 100.0
    assert shown["utterances"][0]["identical"] is True
    assert shown["utterances"][0]["snr"] is None
    assert shown["utterances"][0]["mcd"] == 0.0
    assert set(shown["overall"]) == {metric.name for metric in METRICS}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": clip()[:-1]}, r"clip: test has 47,999 samples, expected 48,000 as the reference has"),
        ({"test": clip()[:1000]}, r"clip: test waveform has shape \(1000,\), expected one channel of at least 1,025"),
        ({"test": clip()[None]}, r"clip: test waveform has shape \(1, 48000\)"),
        ({"reference": 0.0 * clip()}, r"clip: reference is silent"),
        ({"reference": np.where(clip() == clip()[9], np.inf, clip())}, r"clip: reference holds \d+ samples that are"),
        ({"f0": np.ones(FRAMES + 1)}, r"clip: f0 has 401 frames, expected 400.0, one for each 120 samples"),
    ],
    ids=["length", "short", "rank", "silent", "infinite", "f0"],
)
def test_pairs_that_cannot_be_compared(changes: dict[str, Array], message: str) -> None:
    waveforms = {"f0": world()[0], "reference": clip(), "test": clip()} | changes
    with pytest.raises(QualityError, match=message):
        judge([Pair("clip", **waveforms)], "fp16")
    assert FRAMES * HOP == 48000


def test_nothing_to_judge_is_an_error() -> None:
    with pytest.raises(QualityError, match="there are no pairs to judge"):
        judge([], "fp16")

"""A range is made of the very tensors that the whole utterance is made of, and says which frames it lacks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from preprocess import RequestError, Settings, condition
from preprocess.f0 import continuous_f0, tap_offsets
from preprocess.pipeline import Prepared, prepare
from preprocess.reach import Reach
from preprocess.voice import PdIndexing
from sifigan_triton.client.features import request_tensors
from sifigan_triton.client.stream import Ranges, Served
from sifigan_triton.quality import snr_db
from tests.small_voice import random_features, run_generator, small_settings, small_voice

FRAMES = 400
VOICE, GENERATOR = small_voice("zero")
SETTINGS = small_settings(VOICE)[0]
HALO = SETTINGS.halo
SERVED = Served(VOICE.sample_rate, VOICE.hop_size, HALO, (16, 32))


def gaps(frames: int = FRAMES, seed: int = 0) -> np.ndarray:
    """Return an F0 of notes and unvoiced gaps, both of 1 to 60 frames."""
    random, f0 = np.random.default_rng(seed), np.zeros(frames, np.float32)
    at = int(random.integers(40))
    while at < frames:
        note = int(random.integers(1, 60))
        f0[at : at + note] = random.uniform(400.0, 1200.0)
        at += note + int(random.integers(1, 60))
    return f0


F0 = gaps()
MCEP, BAP = random_features(VOICE, FRAMES)
UTTERANCE = request_tensors(F0, MCEP, BAP, 1.1, 3, False)
RANGES = Ranges(UTTERANCE)
PHASES = RANGES.phases(SERVED)


def answered(tensors: dict[str, Any], settings: Settings = SETTINGS) -> Prepared:
    return prepare(
        **{"span" if name == "range" else name: values for name, values in tensors.items()}, settings=settings
    )


def ask(first: int, end: int, halo: int = HALO) -> dict[str, Any]:
    return RANGES.request((first, end), (max(first - halo, 0), min(end + halo, FRAMES)), PHASES[first])


CUTS = [(0, 1), (0, 400), (1, 2), (37, 41), (100, 164), (131, 300), (399, 400), (200, 233)]


@pytest.mark.parametrize(("first", "end"), CUTS)
def test_its_windows_are_those_of_the_whole(first: int, end: int) -> None:
    """Bit for bit, where F0 was interpolated over cut gaps, and phase and noise begin in the middle."""
    excitation, features, offsets = condition(F0, MCEP, BAP, VOICE, float(np.float32(1.1)), 3)
    made = answered(ask(first, end))
    start, stop = max(first - HALO, 0), min(end + HALO, FRAMES)
    assert (made.samples, made.first_sample) == ((end - first) * VOICE.hop_size, 0)
    assert made.wanted[:, 0].tolist() == [32] * ((end - first - 1) // 32) + [(end - first - 1) % 32 + 1]
    for values, whole in ((made.windows.features, features), (made.windows.offsets, offsets)):
        for index, window in enumerate(values):
            low = first + index * 32 - HALO
            seen = slice(max(low, start), min(low + SETTINGS.input_frames, stop))
            np.testing.assert_array_equal(window[:, seen.start - low : seen.stop - low], whole[:, seen])
    hop, low = VOICE.hop_size, first - HALO
    seen = slice(max(low, start), min(low + SETTINGS.input_frames, stop))
    shown = made.windows.excitation[0, :, (seen.start - low) * hop : (seen.stop - low) * hop]
    np.testing.assert_array_equal(shown, excitation[:, seen.start * hop : seen.stop * hop])
    assert made.next_phase == PHASES[end]


def test_bounds_are_the_utterance_s() -> None:
    whole, part = answered(UTTERANCE).windows.bounds, answered(ask(96, 200)).windows.bounds
    np.testing.assert_array_equal(part, whole[3:7])


def test_phases_lead_from_range_to_range() -> None:
    phase, first = 0.0, 0
    for end in (1, 50, 51, 320, 400):
        sent = max(first - HALO, 0), min(end + HALO, FRAMES)
        phase, first = answered(RANGES.request((first, end), sent, phase)).next_phase, end
        assert phase == PHASES[end]


def test_the_end_may_be_unknown() -> None:
    tensors = ask(100, 132)
    known = answered(tensors).windows
    tensors["range"][3] = -1
    unknown = answered(tensors).windows
    np.testing.assert_array_equal(unknown.excitation, known.excitation)
    assert unknown.bounds[0, 1] == 2 * SETTINGS.input_frames


@pytest.mark.parametrize("pd_indexing", ["zero", "reflect"])
def test_an_engine_for_any_length_gets_what_is_needed_and_no_more(pd_indexing: PdIndexing) -> None:
    voice, generator = small_voice(pd_indexing)
    settings = replace(SETTINGS, voice=voice, dynamic=True)
    whole = run_generator(generator, condition(F0, MCEP, BAP, voice, float(np.float32(1.1)), 3))
    for first, end in ((0, 40), (150, 180), (399, 400)):
        made = answered(ask(first, end), settings)
        windows = made.windows
        assert windows.features.shape[2] < end - first + 2 * HALO
        audio = run_generator(generator, (windows.excitation[0], windows.features[0], windows.offsets[0]))
        got = audio[made.first_sample : made.first_sample + made.samples]
        assert snr_db(whole[first * 120 : end * 120], got) >= 110.0


@pytest.mark.parametrize(("first", "end"), [(150, 170), (0, 30), (380, 400), (70, 71)])
def test_missing_frames_are_named_and_just_these(first: int, end: int) -> None:
    offsets = tap_offsets(continuous_f0(F0) * float(np.float32(1.1)), VOICE)
    low, high = Reach(offsets, 0, FRAMES, VOICE).frames_needed(first, end)
    answered(RANGES.request((first, end), (low, high), PHASES[first]))  # just enough
    if low > 0:
        with pytest.raises(RequestError, match=rf"the frames {low} to {low + 2} are missing, send them too; {HALO} fr"):
            answered(RANGES.request((first, end), (low + 3, high), PHASES[first]))
    if high < FRAMES:
        with pytest.raises(RequestError, match=rf"the frames {high - 2} to {high - 1} are missing") as refused:
            answered(RANGES.request((first, end), (low, high - 2), PHASES[first]))
        assert refused.value.reason == "length"


def test_frames_behind_an_unknown_end_are_missing() -> None:
    tensors = ask(390, 400)
    tensors["range"][3] = -1
    with pytest.raises(RequestError, match=r"the frames 400 to \d+ are missing"):
        answered(tensors)


@pytest.mark.parametrize("cut", ["before", "behind", "both"])
def test_a_cut_gap_needs_its_ends(cut: str) -> None:
    unvoiced = np.flatnonzero((F0[60:340] == 0.0) & (np.roll(F0, 1)[60:340] == 0.0)) + 60
    start, stop = int(unvoiced[0]), int(unvoiced[-1]) + 1
    start, stop = (start if cut != "behind" else 0), (stop if cut != "before" else FRAMES)
    middle = (start + stop) // 2
    tensors = RANGES.request((middle, middle + 1), (start, stop), PHASES[middle])
    answered(tensors)
    del tensors["voiced_around"]
    with pytest.raises(RequestError, match="voiced_around missing: the sent frames cut an unvoiced gap") as refused:
        answered(tensors)
    assert (f"before frame {start}" in str(refused.value)) == (cut != "behind")
    assert (f"behind frame {stop - 1}" in str(refused.value)) == (cut != "before")


def test_ranges_of_an_unvoiced_utterance_have_no_sine() -> None:
    ranges = Ranges(request_tensors(np.zeros(100, np.float32), MCEP[:100], BAP[:100], 1.0, 0, False))
    tensors = ranges.request((40, 60), (25, 75), 0.0)
    whole, _, _ = condition(np.zeros(100, np.float32), MCEP[:100], BAP[:100], VOICE)
    made = answered(tensors).windows.excitation[0, :, (HALO - 15) * 120 : (HALO + 32) * 120]
    np.testing.assert_array_equal(made, whole[:, 25 * 120 : 72 * 120])
    del tensors["voiced_around"]
    with pytest.raises(RequestError, match="voiced_around missing"):
        answered(tensors)


def changed(**tensors: Any) -> dict[str, Any]:
    return {**ask(100, 132), **tensors}


START = 100 - HALO
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "shape": ({"range": np.array([0, 1, 2])}, r"range has shape \[3\], expected \[4\]"),
    "type": ({"range": np.array([0, 1, 2, 3], np.int32)}, "range has type int32, expected int64"),
    "empty": ({"range": np.array([START, 100, 100, 400])}, r"expected 0 <= start <= first < end"),
    "negative": ({"range": np.array([-1, 100, 132, 400])}, r"expected 0 <= start <= first < end"),
    "outside": ({"range": np.array([START, 100, 300, 400])}, r"expected 0 <= start <= first < end"),
    "before": ({"range": np.array([START, START - 1, 100, 400])}, r"expected 0 <= start <= first < end"),
    "overflow": ({"range": np.array([2**63 - 1] * 4)}, "at most 4294967296"),
    "short": ({"range": np.array([START, 100, 132, 140])}, "the utterance has 140 frames, expected at least the"),
    "end": ({"range": np.array([START, 100, 132, -2])}, "the utterance has -2 frames"),
    "no phase": ({"phase": None}, f"phase missing, expected one as the sent frames begin at {START}"),
    "phase": ({"phase": np.array([1.0])}, "phase is 1, expected cycles from 0 to below 1"),
    "phase NaN": ({"phase": np.array([np.nan])}, "phase is nan"),
    "voiced": ({"voiced_around": np.array([START, 500.0, -1, 0])}, f"of a voiced frame before {START}"),
    "fraction": ({"voiced_around": np.array([0.5, 500.0, -1, 0])}, "whole numbers"),
    "no F0": ({"voiced_around": np.array([-1, 0, 399, 0.0])}, "F0 above 0"),
    "NaN": ({"voiced_around": np.array([-1, 0, 399, np.nan])}, "F0 above 0"),
    "low": ({"voiced_around": np.array([-1, 0, 399, 200.0])}, r"f0 of 220.00 Hz at frame 399 .* below the engine's"),
    "no range": ({"range": None}, "phase without range"),
    "too low": ({"f0": np.full(32 + 2 * HALO, 100.0, np.float32)}, f"f0 of 110.00 Hz at frame {START} "),
    "not finite": ({"mcep": np.full((32 + 2 * HALO, 40), np.nan, np.float32)}, f"mcep is nan at frame {START}, coeff"),
    "no voice": ({"bap": np.full((32 + 2 * HALO, 3), 1e6, np.float32)}, f"bap is 1e\\+06 at frame {START}, coeff"),
}


@pytest.mark.parametrize(("tensors", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused_in_the_utterance_s_count(tensors: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        answered(changed(**tensors))


def test_the_first_range_needs_no_phase() -> None:
    tensors = ask(20, 40, halo=HALO)
    assert tensors["range"][0] == 0
    given = answered(tensors)
    del tensors["phase"]
    np.testing.assert_array_equal(answered(tensors).windows.excitation, given.windows.excitation)

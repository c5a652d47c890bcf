"""Streams of features without a server: what is asked, when, and that no later frame can change it."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from preprocess import Settings, Voice
from preprocess.f0 import continuous_f0, tap_offsets
from preprocess.pipeline import Prepared, prepare
from preprocess.reach import Reach
from sifigan_triton.client import FeaturesError, SifiganClient, SynthesisError
from sifigan_triton.client.feature_stream import Arriving, Asked, served_voice
from sifigan_triton.client.stream import Served
from tests.small_voice import random_features, small_settings, small_voice

FLOOR = 100.0
VOICE, _ = small_voice()
SETTINGS: Settings = small_settings(VOICE, 64, FLOOR)[0]
NETWORK = {name: getattr(VOICE, name) for name in ("sample_rate", "dense_factors", "pd_indexing")}
SERVED = Served(
    24000, 120, SETTINGS.halo, (16, 32, 64), FLOOR, json.dumps({**NETWORK, "generator": asdict(VOICE.generator)})
)
Features = tuple[np.ndarray, np.ndarray, np.ndarray]


def song(seed: int, frames: int = 500) -> Features:
    """Return notes of 100 to 900 Hz, with gaps and an unvoiced beginning."""
    random = np.random.default_rng(seed)
    f0 = np.repeat(np.exp(random.uniform(np.log(FLOOR * 1.01), np.log(900.0), frames // 25 + 1)), 25)[:frames]
    f0 = (f0 * random.uniform(1.0, 1.03, frames)).astype(np.float32)
    f0[: random.integers(0, 30)] = 0.0
    for begin in random.integers(0, frames, 5):
        f0[begin : begin + random.integers(1, 40)] = 0.0
    return f0, *random_features(VOICE, frames, seed)


def pieces(features: Features, seed: int, largest: int = 90) -> list[Features]:
    """Cut features at random."""
    frames, random = features[0].size, np.random.default_rng(seed)
    cuts = np.minimum(np.cumsum(random.integers(1, largest, frames)), frames)
    cuts = np.unique(np.concatenate([[0], cuts]))
    return [(features[0][a:b], features[1][a:b], features[2][a:b]) for a, b in itertools.pairwise(cuts)]


def asked_now(arriving: Arriving) -> list[Asked]:
    found = []
    while (asked := arriving.next(SERVED, "sifigan")) is not None:
        arriving.made(asked, SERVED.halo)
        found.append(asked)
    return found


def prepared(asked: Asked) -> Prepared:
    """Let the server's first step judge a range."""
    names = {"f0_factor": "f0_factor", "seed": "seed", "range": "span", "phase": "phase"}
    names["voiced_around"] = "voiced_around"
    given = {argument: asked.tensors[name] for name, argument in names.items()}
    return prepare(*(asked.tensors[name] for name in ("f0", "mcep", "bap")), SETTINGS, **given)


def whole(features: Features, asked: Asked, frames: int) -> Prepared:
    """Ask for the same frames of the utterance that is known as a whole."""
    span = np.array([0, asked.first, asked.end, frames], np.int64)
    return prepare(*features, SETTINGS, span=span)


@pytest.mark.parametrize("seed", range(6))
def test_random_pieces_are_the_whole(seed: int) -> None:
    """The ranges tile the utterance, and the sine goes on where it must."""
    features, arriving = song(seed), Arriving(1.0, 0, None)
    asked: list[Asked] = []
    for piece in pieces(features, seed):
        arriving.take(*piece)
        asked += asked_now(arriving)
    arriving.finished = True
    asked += asked_now(arriving)
    assert [each.first for each in asked] == [0, *(each.end for each in asked[:-1])]
    assert asked[-1].end == 500
    for each in asked:
        assert prepared(each).next_phase == whole(features, each, 500).next_phase == each.next_phase / 2**53


@pytest.mark.parametrize("seed", range(6))
def test_no_later_frame_changes_what_was_asked(seed: int) -> None:
    """Whatever comes next, lower, higher, unvoiced or nothing: the whole utterance needs and gives the same."""
    features, arriving, at = song(seed, 300), Arriving(1.0, 0, None), 0
    random = np.random.default_rng(seed)
    for piece in pieces(features, seed):
        arriving.take(*piece)
        at += piece[0].size
        for each in asked_now(arriving):
            mine = prepared(each)  # refused if frames that it depends on lack
            for hz in (FLOOR * 1.01, 900.0, 0.0):
                length = at + int(random.integers(0, 200))
                other = song(99, 600)
                later = tuple(np.concatenate([a[:at], b[at:length]]) for a, b in zip(features, other, strict=True))
                later[0][at:] = hz
                reach, truth = each.tensors["range"].tolist()[0], whole(later, each, length)
                assert mine.next_phase == truth.next_phase
                assert needed_of(later[0], each, length) <= reach + each.tensors["f0"].size <= at
                assert same_where_it_counts(later, each)


def needed_of(f0: np.ndarray, each: Asked, length: int) -> int:
    """Return behind which frame the audio of a range depends on nothing, in an utterance that is known as a whole."""
    return Reach(tap_offsets(continuous_f0(f0), VOICE), 0, length, VOICE).frames_needed(each.first, each.end)[1]


def same_where_it_counts(later: Features, each: Asked) -> bool:
    """Return whether F0 of the sent frames, interpolated, is that of the whole utterance."""
    start, size = int(each.tensors["range"][0]), each.tensors["f0"].size
    around = each.tensors["voiced_around"].reshape(2, 2)
    known = around[around[:, 0] >= 0.0]
    sent = continuous_f0(each.tensors["f0"], (known[:, 0] - start, known[:, 1]))
    return bool(np.array_equal(sent, continuous_f0(later[0])[start : start + size]))


@pytest.mark.parametrize("hz", [100.0, 300.0, 800.0])
def test_a_voice_waits_for_what_the_network_looks_at(hz: float) -> None:
    """Not a frame longer: pushed one by one, each comes with the last frame that it depends on."""
    frames, arriving = 2 * SETTINGS.halo + 40, Arriving(1.0, 0, None)
    f0, (mcep, bap) = np.full(frames, hz, np.float32), random_features(VOICE, frames)
    reach = Reach(tap_offsets(np.full(frames, hz), VOICE), 0, None, VOICE)
    for at in range(frames):
        arriving.take(f0[at : at + 1], mcep[at : at + 1], bap[at : at + 1])
        asked_now(arriving)
        first = arriving.first
        assert first == 0 or reach.frames_needed(first - 1, first)[1] <= at + 1
        assert reach.frames_needed(first, first + 1)[1] > at + 1
    assert arriving.first > 0


def test_in_a_gap_nothing_is_certain() -> None:
    features, arriving = song(1, 400), Arriving(1.0, 0, None)
    features[0][:] = 800.0
    features[0][:40] = features[0][200:300] = 0.0
    taken = []
    for begin in range(0, 400, 10):
        arriving.take(*(values[begin : begin + 10] for values in features))
        asked_now(arriving)
        taken.append(arriving.first)
    assert taken[3] == 0 < taken[4]
    assert 160 < taken[19] == taken[29] < taken[30]


def test_a_gap_longer_than_what_is_kept() -> None:
    """Ranges inside of it still know both of its ends."""
    features, arriving, asked = song(2, 4 * SETTINGS.halo), Arriving(1.0, 0, None), list[Asked]()
    features[0][:] = np.linspace(150.0, 850.0, features[0].size)
    features[0][SETTINGS.halo // 2 : 3 * SETTINGS.halo] = 0.0
    for piece in pieces(features, 2):
        arriving.take(*piece)
        asked += asked_now(arriving)
    assert any(not each.tensors["f0"].any() for each in asked)
    for each in asked:
        assert prepared(each).next_phase == whole(features, each, features[0].size).next_phase
        assert same_where_it_counts(features, each)


@pytest.mark.parametrize("ahead", [0, 8, 64])
def test_no_frame_waits_longer_than_allowed(ahead: int) -> None:
    """The sine goes on from the F0 that was used, and every range has what the server asks for."""
    features, arriving, at, phase = song(4), Arriving(1.0, 0, ahead), 0, 0.0
    for piece in [*pieces(features, 4), None]:
        if piece is None:
            arriving.finished = True
        else:
            arriving.take(*piece)
            at += piece[0].size
        for each in asked_now(arriving):
            assert each.tensors["phase"][0] == phase
            phase = prepared(each).next_phase
        assert arriving.first >= at - ahead
        assert len(arriving._parts[0]["f0"]) <= SERVED.halo + ahead + 90
    assert arriving.first == 500


def test_all_unvoiced_comes_at_the_end() -> None:
    _, mcep, bap = song(0, 100)
    arriving = Arriving(1.0, 0, None)
    arriving.take(np.zeros(100, np.float32), mcep, bap)
    assert asked_now(arriving) == []
    arriving.finished = True
    assert [(each.first, each.end) for each in asked_now(arriving)] == [(0, 64), (64, 100)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e-30, 1e30])
def test_what_is_no_f0_is_left_to_the_server(value: float) -> None:
    features, arriving = song(0, 300), Arriving(1.0, 0, None)
    features[0][150] = value
    arriving.take(*features)
    arriving.finished = True
    asked = asked_now(arriving)
    assert asked[-1].end == 300
    with pytest.raises(ValueError, match="f0"):
        [prepared(each) for each in asked]


class TestErrors:
    def test_of_a_push(self) -> None:
        f0, mcep, bap = song(0, 30)
        with SifiganClient("localhost:1") as client:
            stream = client.open_stream()
            stream.push(f0, mcep, bap)
            with pytest.raises(FeaturesError, match="mcep has 39 columns, expected 40 as in the frames pushed before"):
                stream.push(f0, mcep[:, 1:], bap)
            with pytest.raises(FeaturesError, match="f0 has 0 frames, expected at least 1"):
                stream.push(f0[:0], mcep[:0], bap[:0])
            with pytest.raises(FeaturesError, match="mcep has 29 frames, expected 30"):
                stream.push(f0, mcep[1:], bap)
            stream.finish()
            with pytest.raises(FeaturesError, match="stream was finished after 30 frames, expected no push"):
                stream.push(f0, mcep, bap)

    @pytest.mark.parametrize("ahead", [-1, 1.5, "8"])
    def test_of_a_lookahead(self, ahead: Any) -> None:
        with SifiganClient("localhost:1") as client, pytest.raises(ValueError, match="max_lookahead_frames is"):
            client.open_stream(max_lookahead_frames=ahead)

    @pytest.mark.parametrize("network", ["", "[]", "{}", '{"generator": {"in_channels": 1e999}}', "[" * 10**5])
    def test_of_a_server_that_does_not_tell(self, network: str) -> None:
        served = Served(24000, 120, 40, (64,), 70.0, network)
        with pytest.raises(SynthesisError, match="sifigan does not tell how far its network looks"):
            served_voice(served, "sifigan")

    def test_a_failed_piece_is_asked_for_again(self) -> None:
        features, arriving = song(0, 100), Arriving(1.0, 0, None)
        arriving.take(*features)
        arriving.finished = True
        one, again = (arriving.next(SERVED, "sifigan") for _ in range(2))
        assert one is not None
        assert again is not None
        assert one.tensors["range"].tolist() == again.tensors["range"].tolist()


def test_the_network_is_the_served_voice() -> None:
    read: Voice = served_voice(SERVED, "sifigan")
    assert read.generator == VOICE.generator
    assert (read.sample_rate, read.dense_factors, read.pd_indexing) == (24000, VOICE.dense_factors, "reflect")

"""Streams without a server: the ramp never lets playback stop, and nothing is asked that nobody takes."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from sifigan_triton.client import FeaturesError, SifiganClient, SynthesisError
from sifigan_triton.client.features import request_tensors
from sifigan_triton.client.stream import (
    HALO_COST,
    IN_FLIGHT,
    LOAD,
    Chunk,
    Ranges,
    Served,
    Tensors,
    async_one_by_one,
    one_by_one,
    ramp,
)
from tests.client.toy_ensemble import features

PARAMETERS = {"sample_rate": "24000", "hop_size": "120", "halo": "216", "windows": "512 256 128 64"}
SERVED = Served(24000, 120, 216, (64, 128, 256, 512))
SIZES = [(64, 128, 256, 512), (16, 32, 64, 128), (512,), (1000, 1024)]


@pytest.mark.parametrize("windows", SIZES, ids=str)
@pytest.mark.parametrize("halo", [0, 40, 216, 2000])
@pytest.mark.parametrize("load", [0.05, 0.5, LOAD])
def test_playback_never_stops(windows: tuple[int, ...], halo: int, load: float) -> None:
    """Each range is there before the audio ahead of it has been played, if the engine takes `load` of real time."""
    pace = load * windows[0] / (windows[0] + HALO_COST * halo)
    now = played_until = 0.0
    sizes = list(itertools.islice(ramp(windows, halo), 200))
    for index, size in enumerate(sizes):
        now += pace * (size + HALO_COST * halo)
        if index == 0:
            played_until = now  # playback begins
        assert now <= played_until + 1e-9, index
        played_until += size
    assert sizes[0] == windows[0]
    assert sizes[-1] == windows[-1]
    assert all(a <= b for a, b in itertools.pairwise(sizes))


def test_the_ramp_of_the_default_build() -> None:
    assert list(itertools.islice(ramp(SERVED.windows, SERVED.halo), 9)) == [64, 64, 64, 128, 128, 256, 512, 512, 512]


def test_what_is_served_is_read() -> None:
    assert Served.of("sifigan", PARAMETERS) == SERVED


@pytest.mark.parametrize(
    "changed", [{"halo": "x"}, {"windows": ""}, {"windows": "0"}, {"hop_size": "0"}, {"halo": "-1"}, {}], ids=str
)
def test_a_server_that_does_not_tell(changed: dict[str, str]) -> None:
    parameters = {**PARAMETERS, **changed} if changed else {}
    with pytest.raises(SynthesisError, match=r"voice-2 does not tell what a stream has to know .* build its"):
        Served.of("voice-2", parameters)


def requests_of(frames: int) -> list[tuple[int, Tensors]]:
    return list(Ranges(request_tensors(*features(frames), 1.0, 0, False)).requests(SERVED))


@pytest.mark.parametrize("frames", [1, 63, 64, 65, 1000, 20_000])
def test_ranges_tile_the_utterance_with_their_halos(frames: int) -> None:
    at = 0
    for first, tensors in requests_of(frames):
        start, asked_first, end, total = tensors["range"].tolist()
        assert (first, asked_first, total) == (at, at, frames)
        assert start == max(first - 216, 0)
        assert tensors["f0"].size == len(tensors["mcep"]) == len(tensors["bap"]) == min(end + 216, frames) - start
        at = end
    assert at == frames


def test_no_frame_is_no_utterance() -> None:
    with pytest.raises(FeaturesError, match="f0 has 0 frames, expected at least 1"):
        Ranges(request_tensors(*features(0), 1.0, 0, False))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e30])
def test_what_is_no_f0_is_left_to_the_server(value: float) -> None:
    f0, mcep, bap = features(300)
    f0[200] = value
    asked = list(Ranges(request_tensors(f0, mcep, bap, 1.0, 0, False)).requests(SERVED))
    assert sum(value in tensors["f0"] or np.isnan(tensors["f0"]).any() for _, tensors in asked) > 1
    list(Ranges(request_tensors(*features(100), float("nan"), 0, False)).requests(SERVED))


def test_nothing_to_mend_from() -> None:
    f0, mcep, bap = features(30)
    with pytest.raises(FeaturesError, match="mcep holds NaN or Inf in every one of its 30 frames"):
        Ranges(request_tensors(f0, mcep * np.nan, bap, 1.0, 0, True))


def test_wrong_features_are_told_at_once() -> None:
    with SifiganClient("localhost:1") as client:
        f0, mcep, bap = features(30)
        with pytest.raises(FeaturesError, match="mcep has 29 frames"):
            client.stream(f0, mcep[1:], bap)
        with pytest.raises(ValueError, match="timeout_s is 0"):
            client.stream(f0, mcep, bap, timeout_s=0.0)


class Asked:
    """Answers ranges of one frame each, and notes which, and how many at a time."""

    def __init__(self, fail_at: int = -1) -> None:
        self.fail_at, self.lock = fail_at, threading.Lock()
        self.begun: list[int] = []
        self.ended = 0
        self.most = 0

    def requests(self, count: int = 1000) -> Iterator[tuple[int, Tensors]]:
        return ((index, {"f0": np.array([index])}) for index in range(count))

    def infer(self, tensors: Tensors) -> Any:
        index = int(tensors["f0"][0])
        with self.lock:
            self.begun.append(index)
            self.most = max(self.most, len(self.begun) - self.ended)
        time.sleep(0.002 if index % 2 else 0.006)  # the later ones overtake
        with self.lock:
            self.ended += 1
        if index == self.fail_at:
            raise SynthesisError("no more")
        return np.full(3, index, np.float32)

    async def infer_later(self, tensors: Tensors) -> Any:
        return await asyncio.to_thread(self.infer, tensors)


def collect(asked: Asked, count: int, take: int, pause_s: float = 0.0, later: bool = False) -> list[Chunk]:
    """Take some chunks of a stream, and leave it."""
    taken: list[Chunk] = []
    if not later:
        stream = one_by_one(asked.requests(count), asked.infer)
        try:
            for chunk in itertools.islice(stream, take):
                taken.append(chunk)
                time.sleep(pause_s)
        except SynthesisError:
            taken.append(Chunk(-1, np.empty(0, np.float32)))
        stream.close()
        return taken

    async def run() -> None:
        async with aclosing(async_one_by_one(asked.requests(count), asked.infer_later)) as chunks:
            try:
                async for chunk in chunks:
                    taken.append(chunk)
                    await asyncio.sleep(pause_s)
                    if len(taken) == take:
                        break
            except SynthesisError:
                taken.append(Chunk(-1, np.empty(0, np.float32)))

    asyncio.run(run())
    return taken


@pytest.mark.parametrize("later", [False, True], ids=["threads", "asyncio"])
class TestStream:
    def test_chunks_come_in_order_and_the_first_alone(self, later: bool) -> None:
        asked = Asked()
        chunks = collect(asked, 25, 1000, later=later)
        assert [chunk.first_frame for chunk in chunks] == list(range(25))
        assert all((chunk.waveform == chunk.first_frame).all() for chunk in chunks)
        assert asked.most == IN_FLIGHT
        assert sorted(asked.begun) == list(range(25))

    def test_who_does_not_take_stops_the_work(self, later: bool) -> None:
        asked = Asked()
        collect(asked, 1000, 3, pause_s=0.1, later=later)
        assert len(asked.begun) <= 3 + IN_FLIGHT

    def test_an_error_comes_behind_what_was_made(self, later: bool) -> None:
        asked = Asked(fail_at=5)
        chunks = collect(asked, 1000, 1000, later=later)
        assert [chunk.first_frame for chunk in chunks] == [0, 1, 2, 3, 4, -1]
        time.sleep(0.05)
        assert len(asked.begun) <= 6 + IN_FLIGHT

    def test_streams_that_are_dropped_leave_no_thread(self, later: bool) -> None:
        before = threading.active_count()
        for _ in range(20):
            collect(Asked(), 1000, 1, later=later)
        give_up = time.monotonic() + 10.0
        while threading.active_count() > before and time.monotonic() < give_up:
            time.sleep(0.01)
        assert threading.active_count() <= before


def test_a_stream_that_nobody_begins_asks_nothing() -> None:
    asked = Asked()
    one_by_one(asked.requests(), asked.infer).close()
    assert asked.begun == []


def test_under_asyncio_what_is_under_way_is_cancelled() -> None:
    ended: list[str] = []

    async def infer(tensors: Tensors) -> Any:
        try:
            await asyncio.sleep(0.0 if tensors["f0"][0] == 0 else 60.0)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return np.zeros(3, np.float32)

    async def run() -> None:
        async with aclosing(async_one_by_one(Asked().requests(), infer)) as chunks:
            await anext(chunks)
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(run(), 10.0))
    assert ended == ["cancelled"] * IN_FLIGHT

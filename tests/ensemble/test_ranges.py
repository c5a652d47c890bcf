"""Ranges of the served ensemble, cut anywhere, are the whole utterance, and so are streams of them."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import urllib.request
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from benchmarks.tracks import Request, recordings, track_request
from preprocess.f0 import continuous_f0, tap_offsets
from preprocess.reach import Reach
from sifigan_triton.client import AsyncSifiganClient, Chunk, SifiganClient, SynthesisError
from sifigan_triton.client.features import request_tensors
from sifigan_triton.client.stream import Ranges, Served
from sifigan_triton.quality import snr_db
from tests.conftest import Deployment

BOUND_DB = 110.0

pytestmark = pytest.mark.server


def sung(frames: int, floor: float) -> Request:
    """Return singing above a floor, with gaps of 7, 50 and 1 frames."""
    song = recordings().first(frames)
    f0 = np.where(song.f0 > 0.0, np.maximum(song.f0, floor), 0.0).astype(np.float32)
    f0[[*range(40, 47), *range(120, 170), 200]] = 0.0
    return Request(f0, song.mcep, song.bap)


def ranges_of(request: Request) -> Ranges:
    return Ranges(request_tensors(request.f0, request.mcep, request.bap, 1.0, 0, False))


def served(deployment: Deployment) -> Served:
    """Read what the ensemble publishes, over HTTP."""
    with urllib.request.urlopen(f"http://{deployment.server.http_url}/v2/models/sifigan/config") as answer:
        parameters = json.load(answer)["parameters"]
    return Served.of("sifigan", {name: value["string_value"] for name, value in parameters.items()})


def joined(chunks: list[Chunk]) -> np.ndarray:
    """Join a stream, whose chunks must follow each other."""
    ends = np.cumsum([0, *(chunk.waveform.size for chunk in chunks)])
    assert [chunk.first_frame * 120 for chunk in chunks] == ends[:-1].tolist()
    return np.concatenate([chunk.waveform for chunk in chunks])


def asked(client: SifiganClient, tensors: dict[str, Any]) -> np.ndarray:
    """Ask for a range by its tensors, as somebody does who has no `stream`."""
    waveform: np.ndarray = client._infer("waveform", tensors, None)
    return waveform


VOICES = [("small_deployment", "http"), ("small_deployment", "grpc"), ("zero_deployment", "http")]
VOICES += [("full_size_deployment", "grpc")]


@pytest.mark.parametrize(("name", "protocol"), VOICES)
def test_random_cuts_joined_are_the_whole(request: pytest.FixtureRequest, name: str, protocol: str) -> None:
    """Each with just the frames that it needs, not one more."""
    deployment: Deployment = request.getfixturevalue(name)
    song, constants = sung(280, deployment.settings.f0_floor), served(deployment)
    ranges = ranges_of(song)
    phases, random = ranges.phases(constants), np.random.default_rng(len(name))
    reach = Reach(tap_offsets(continuous_f0(song.f0), deployment.voice), 0, ranges.frames, deployment.voice)
    cuts = [0, *np.sort(random.choice(np.arange(1, ranges.frames), 4, replace=False)).tolist(), ranges.frames]
    with SifiganClient(deployment.urls[protocol]) as client:
        whole = client.synthesize(song.f0, song.mcep, song.bap)
        pieces = [
            asked(client, ranges.request((first, end), reach.frames_needed(first, end), phases[first]))
            for first, end in itertools.pairwise(cuts)
        ]
    assert [piece.size for piece in pieces] == (np.diff(cuts) * 120).tolist()
    assert snr_db(whole, np.concatenate(pieces)) >= BOUND_DB, cuts


@pytest.mark.parametrize("track", ["half unvoiced", "all unvoiced", "floor", "recordings"])
def test_a_stream_is_the_unary_answer(small_deployment: Deployment, track: str) -> None:
    request = track_request(track, 300, small_deployment.settings.f0_floor)
    features = (request.f0, request.mcep, request.bap)
    for url in small_deployment.urls.values():
        with SifiganClient(url) as client:
            whole = client.synthesize(*features, seed=3)
            stream = joined(list(client.stream(*features, seed=3)))
            assert snr_db(whole, stream) >= BOUND_DB
            assert np.array_equal(joined(list(client.stream(*features, seed=3))), stream)


@pytest.mark.parametrize("frames", [1, 2, 17])
def test_a_stream_of_few_frames(small_deployment: Deployment, frames: int) -> None:
    song = recordings().first(frames)
    with SifiganClient(small_deployment.server.http_url) as client:
        stream = joined(list(client.stream(song.f0, song.mcep, song.bap, f0_factor=1.3)))
        whole = client.synthesize(song.f0, song.mcep, song.bap, f0_factor=1.3)
    assert snr_db(whole, stream) >= BOUND_DB


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_asyncio_stream_is_the_same(small_deployment: Deployment, protocol: str) -> None:
    song = sung(280, 100.0)

    async def run() -> tuple[np.ndarray, int]:
        async with AsyncSifiganClient(small_deployment.urls[protocol]) as client:
            whole = joined([chunk async for chunk in client.stream(song.f0, song.mcep, song.bap)])
            async with aclosing(client.stream(song.f0, song.mcep, song.bap)) as left:
                first = await anext(left)
            return whole, first.waveform.size

    whole, first = asyncio.run(run())
    with SifiganClient(small_deployment.server.http_url) as client:
        assert np.array_equal(whole, joined(list(client.stream(song.f0, song.mcep, song.bap))))
    assert first == 16 * 120


def test_an_error_comes_behind_the_audio_before_it(small_deployment: Deployment) -> None:
    song = recordings().first(400)
    f0, made = song.f0.copy(), []
    f0[330] = 20.0
    with SifiganClient(small_deployment.server.http_url) as client:
        with pytest.raises(SynthesisError, match=r"f0 of 20.00 Hz at frame 330"):
            made.extend(client.stream(f0, song.mcep, song.bap))
        clean = joined(list(client.stream(song.f0, song.mcep, song.bap)))
    assert 0 < joined(made).size <= 330 * 120
    np.testing.assert_array_equal(joined(made[:1]), clean[: made[0].waveform.size])


def test_frames_that_are_mended_are_mended_alike(small_deployment: Deployment) -> None:
    song = recordings().first(300)
    mcep, f0 = song.mcep.copy(), song.f0.copy()
    mcep[100:230, 3], f0[150:152] = np.nan, np.inf  # nearer ends than any range of this length sees
    with SifiganClient(small_deployment.server.http_url) as client:
        whole = client.synthesize(f0, mcep, song.bap, repair=True)
        assert snr_db(whole, joined(list(client.stream(f0, mcep, song.bap, repair=True)))) >= BOUND_DB


def test_plain_json_asks_for_a_range(small_deployment: Deployment) -> None:
    """Through all that a stranger has: numbers in a text, and `next_phase` from one answer to the next."""
    song, constants = sung(210, 100.0), served(small_deployment)
    ranges, pieces, phase = ranges_of(song), [], 0.0
    for first, end in ((0, 90), (90, 210)):
        sent = max(first - constants.halo, 0), min(end + constants.halo, 210)
        tensors = ranges.request((first, end), sent, phase)
        got = ask_in_json(small_deployment, tensors)
        pieces.append(got["waveform"])
        (phase,) = got["next_phase"]
    with SifiganClient(small_deployment.server.http_url) as client:
        whole = client.synthesize(song.f0, song.mcep, song.bap)
    assert snr_db(whole, np.concatenate(pieces).astype(np.float32)) >= BOUND_DB


def ask_in_json(deployment: Deployment, tensors: dict[str, Any]) -> dict[str, list[float]]:
    """Ask for the audio of one range and the phase behind it."""
    kinds = {"float32": "FP32", "float64": "FP64", "int64": "INT64"}
    inputs = [
        {"name": name, "shape": values.shape, "datatype": kinds[str(values.dtype)], "data": values.ravel().tolist()}
        for name, values in tensors.items()
    ]
    body = json.dumps({"inputs": inputs, "outputs": [{"name": "waveform"}, {"name": "next_phase"}]}).encode()
    url = f"http://{deployment.server.http_url}/v2/models/sifigan/infer"
    with urllib.request.urlopen(urllib.request.Request(url, body)) as answer:
        return {each["name"]: each["data"] for each in json.load(answer)["outputs"]}


def test_only_what_is_wanted_is_computed(small_deployment: Deployment) -> None:
    """A range of 16 frames costs the smallest window, not the whole one that the utterance would fill."""
    constants, metrics = served(small_deployment), small_deployment.server.metrics_url
    before = settled(lambda: windows_by_size(metrics))
    tensors = ranges_of(recordings().first(900)).request((0, 16), (0, 16 + constants.halo), 0.0)
    assert len(ask_in_json(small_deployment, tensors)["waveform"]) == 16 * 120
    after = settled(lambda: windows_by_size(metrics))
    assert {size: after[size] - before[size] for size in after} == {"128": 0, "64": 0, "32": 0, "16": 1}


def settled(read: Callable[[], dict[str, int]]) -> dict[str, int]:
    """Return what is read when it does not change for a second: models write a little after they have answered."""
    values, since = read(), time.monotonic()
    while time.monotonic() - since < 1.0:
        time.sleep(0.1)
        if (now := read()) != values:
            values, since = now, time.monotonic()
    return values


def windows_by_size(metrics_url: str) -> dict[str, int]:
    """Return how many windows the engine has computed."""
    with urllib.request.urlopen(f"http://{metrics_url}/metrics") as page:
        lines = [line for line in page.read().decode().splitlines() if "sifigan_engine_windows_total{" in line]
    return {line.split('frames="')[1].split('"')[0]: int(float(line.split()[-1])) for line in lines}


def in_pieces(request: Request, seed: int, most: int = 60) -> list[Request]:
    """Cut features as a predictor might give them."""
    sizes = np.random.default_rng(seed).integers(1, most, request.f0.size)
    cuts = np.unique(np.minimum([0, *np.cumsum(sizes)], request.f0.size))
    return [Request(*(values[a:b] for values in vars(request).values())) for a, b in itertools.pairwise(cuts)]


@pytest.mark.parametrize(("name", "protocol"), [VOICES[0], VOICES[1], VOICES[2]])
def test_features_that_arrive_in_pieces_are_the_whole(request: pytest.FixtureRequest, name: str, protocol: str) -> None:
    deployment: Deployment = request.getfixturevalue(name)
    song = sung(400, deployment.settings.f0_floor)
    with SifiganClient(deployment.urls[protocol]) as client:
        stream, chunks = client.open_stream(f0_factor=1.2, seed=5), list[Chunk]()
        for piece in in_pieces(song, len(protocol)):
            chunks += stream.push(piece.f0, piece.mcep, piece.bap)
        assert chunks
        chunks += stream.finish()
        whole = client.synthesize(song.f0, song.mcep, song.bap, f0_factor=1.2, seed=5)
    assert snr_db(whole, joined(chunks)) >= BOUND_DB


def test_no_later_frame_changes_what_was_heard(small_deployment: Deployment) -> None:
    """What came before each change of the future is what the whole changed utterance gives."""
    song = sung(400, 300.0)
    with SifiganClient(small_deployment.server.http_url) as client:
        stream, heard, at = client.open_stream(), np.empty(0, np.float32), 0
        for index, piece in enumerate(in_pieces(song, 7, 150)):
            chunks = list(stream.push(piece.f0, piece.mcep, piece.bap))
            heard, at = np.concatenate([heard, *(chunk.waveform for chunk in chunks)]), at + piece.f0.size
            if not chunks:
                continue
            f0, mcep, bap = song.f0.copy(), song.mcep.copy(), song.bap.copy()
            f0[at:], mcep[at:], bap[at:] = (100.0, 0.0, 700.0)[index % 3], mcep[:1], bap[:1]
            other = client.synthesize(f0, mcep, bap)
            assert snr_db(other[: heard.size], heard) >= BOUND_DB, at
    assert heard.size > 200 * 120


def test_what_waits_for_few_frames_comes_at_once(small_deployment: Deployment) -> None:
    """Under asyncio: with a bound on the delay it is nearly the exact audio, and has its length."""
    song = sung(400, 100.0)

    async def run() -> list[Chunk]:
        async with AsyncSifiganClient(small_deployment.urls["grpc"]) as client:
            stream, chunks, at = client.open_stream(max_lookahead_frames=64), list[Chunk](), 0
            for piece in in_pieces(song, 3):
                chunks += [chunk async for chunk in stream.push(piece.f0, piece.mcep, piece.bap)]
                at += piece.f0.size
                assert sum(chunk.waveform.size for chunk in chunks) >= (at - 64) * 120
            return chunks + [chunk async for chunk in stream.finish()]

    heard = joined(asyncio.run(run()))
    with SifiganClient(small_deployment.server.http_url) as client:
        whole = client.synthesize(song.f0, song.mcep, song.bap)
    assert 10.0 < snr_db(whole, heard) < BOUND_DB

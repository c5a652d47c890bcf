"""The audio of a request never depends on what runs beside it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.tracks import Request, recordings, track_request
from sifigan_triton.client import SifiganClient
from tests.conftest import Deployment

pytestmark = pytest.mark.server

OTHERS = [
    ("floor", 1, 1),
    ("100 Hz", 90, 2),
    ("300 Hz", 130, 3),
    ("800 Hz", 300, 4),
    ("glide", 257, 5),
    ("half unvoiced", 128, 6),
    ("all unvoiced", 40, 7),
]


def synthesize(url: str, request: Request, seed: int) -> npt.NDArray[np.float32]:
    with SifiganClient(url) as client:
        return client.synthesize(request.f0, request.mcep, request.bap, seed=seed)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_same_audio_alone_repeated_and_in_company(small_deployment: Deployment, protocol: str) -> None:
    url, floor = small_deployment.urls[protocol], small_deployment.settings.f0_floor
    request = track_request("recordings", 400, floor)
    alone = synthesize(url, request, 0)
    assert np.array_equal(alone, synthesize(url, request, 0))
    jobs = [(request, 0)] + [(track_request(track, frames, floor), seed) for track, frames, seed in OTHERS]
    with ThreadPoolExecutor(len(jobs)) as pool:
        together = list(pool.map(lambda job: synthesize(url, *job), jobs * 2))
    assert np.array_equal(alone, together[0])
    for first, second, (other, seed) in zip(together[: len(jobs)], together[len(jobs) :], jobs, strict=True):
        assert np.array_equal(first, second)
        assert first.size == other.f0.size * 120
        assert np.array_equal(first, synthesize(url, other, seed))


def test_a_short_request_passes_a_long_one(small_deployment: Deployment) -> None:
    url, floor = small_deployment.urls["grpc"], small_deployment.settings.f0_floor
    sung, frames = recordings(), 16000
    mcep, bap = (np.resize(values, (frames, values.shape[1])) for values in (sung.mcep, sung.bap))
    long = Request(np.full(frames, 150.0, np.float32), mcep, bap)
    jobs = {"long": long, "short": track_request("glide", 100, floor)}
    answered: dict[str, float] = {}

    def send(name: str) -> None:
        synthesize(url, jobs[name], 0)
        answered[name] = time.monotonic()

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(send, "long")]
        time.sleep(0.3)  # the engine has the long one
        asked = time.monotonic()
        futures.append(pool.submit(send, "short"))
    assert [future.result() for future in futures] == [None, None]
    # Behind the long one the short one would be answered with it: its audio alone is on its way for less time.
    assert answered["short"] - asked < 0.5 * (answered["long"] - asked)


def test_seed_changes_the_noise_only_where_asked(small_deployment: Deployment) -> None:
    url = small_deployment.urls["http"]
    request = track_request("300 Hz", 100, 100.0)
    first, other = synthesize(url, request, 1), synthesize(url, request, 2)
    assert not np.array_equal(first, other)
    assert np.array_equal(first, synthesize(url, request, 1))


def test_both_protocols_give_the_same_audio(small_deployment: Deployment) -> None:
    request = track_request("glide", 150, 100.0)
    over_http, over_grpc = (synthesize(url, request, 3) for url in small_deployment.urls.values())
    assert np.array_equal(over_http, over_grpc)

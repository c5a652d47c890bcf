"""The served windows say what the full-length generator says, for every length and F0."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.tracks import TRACKS, Request, fixed_overlap, full_length, lengths, recordings, track_request
from sifigan_triton.client import SifiganClient
from sifigan_triton.quality import snr_db
from tests.conftest import Deployment

BOUND_DB = 110.0

pytestmark = pytest.mark.server


def served(deployment: Deployment, track: str, frames: int) -> tuple[float, int]:
    """Return the SNR in dB of the served waveform against the full-length generator, and its samples."""
    request = track_request(track, frames, deployment.settings.f0_floor)
    reference = full_length(request, deployment.voice, deployment.generator)
    with SifiganClient(deployment.server.http_url) as client:
        waveform = client.synthesize(request.f0, request.mcep, request.bap)
    assert np.std(reference) > 1e-3  # a silent reference would make any comparison look good or bad by accident
    return snr_db(reference, waveform), waveform.size


def check(deployment: Deployment, track: str, length: str) -> None:
    frames = lengths(deployment.settings.window)[length]
    snr, samples = served(deployment, track, frames)
    assert samples == frames * 120
    assert snr >= BOUND_DB


@pytest.mark.parametrize("track", ["floor", "recordings"])
@pytest.mark.parametrize("length", ["1", "W+1", "5W+17"])
def test_default_build_equals_full_length(default_deployment: Deployment, track: str, length: str) -> None:
    check(default_deployment, track, length)


GRID = [("small_deployment", track) for track in TRACKS]
GRID += [("zero_deployment", track) for track in ("floor", "recordings", "half unvoiced")]


@pytest.mark.parametrize("track", ["floor", "recordings", "glide"])
@pytest.mark.parametrize("length", ["1", "W+1", "5W+17"])
def test_full_size_equals_full_length(full_size_deployment: Deployment, track: str, length: str) -> None:
    check(full_size_deployment, track, length)


@pytest.mark.parametrize(("deployment", "track"), GRID)
@pytest.mark.parametrize("length", lengths(1))
def test_windowed_equals_full_length(request: pytest.FixtureRequest, deployment: str, track: str, length: str) -> None:
    check(request.getfixturevalue(deployment), track, length)


@pytest.mark.parametrize("track", ["floor", "recordings", "glide", "half unvoiced"])
def test_plain_windows_with_fixed_overlap_fail_the_bound(small_deployment: Deployment, track: str) -> None:
    settings = small_deployment.settings
    request = track_request(track, lengths(settings.window)["5W+17"], settings.f0_floor)
    arguments = (request, small_deployment.voice, small_deployment.generator)
    control = fixed_overlap(*arguments, settings.window, overlap=32)
    assert snr_db(full_length(*arguments), control) < BOUND_DB


def test_five_minutes_with_one_call(zero_deployment: Deployment) -> None:
    frames = 60_000
    assert frames <= zero_deployment.settings.longest_frames
    song = recordings()
    request = Request(*(np.resize(values, (frames, *values.shape[1:])) for values in vars(song).values()))
    with SifiganClient(f"grpc://{zero_deployment.server.grpc_url}") as client:
        waveform = client.synthesize(request.f0, request.mcep, request.bap)
    assert waveform.size == frames * 120
    assert np.isfinite(waveform).all()
    # What lies more than a halo ahead does not matter: a short full-length run is the reference of the first frames.
    reference = full_length(request.first(3000), zero_deployment.voice, zero_deployment.generator)
    samples = 2500 * 120
    assert snr_db(reference[:samples], waveform[:samples]) >= BOUND_DB

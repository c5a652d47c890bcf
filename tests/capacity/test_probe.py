"""The times of a real server, and that nobody else may use it while they are found out."""

from __future__ import annotations

import threading
from unittest.mock import patch

import pytest

from benchmarks.tracks import track_request
from sifigan_triton.capacity import probe
from sifigan_triton.capacity.probe import Probe
from sifigan_triton.client import ServerUnavailableError, SifiganClient
from tests.conftest import Deployment

pytestmark = pytest.mark.server


def test_the_times_are_those_of_the_server(small_deployment: Deployment) -> None:
    server, settings = small_deployment.server, small_deployment.settings
    one = Probe(server.http_url, server.metrics_url, cores=2)
    one.round(calls=2)
    times = one.times()
    assert tuple(times.window_s) == (128, 64, 32, 16)
    assert (times.halo, times.longest) == (settings.halo, settings.window * settings.max_batch_size)
    assert (times.cores, times.gpu, times.batch, times.turns) == (2, False, 1, True)
    assert times.frame_s == settings.seconds(1)
    assert all(0.0 < seconds < 1.0 for seconds in times.window_s.values())
    assert 0.0 < times.around(100) < 1.0


def test_a_server_that_others_use_is_not_measured(small_deployment: Deployment) -> None:
    server, request = small_deployment.server, track_request("300 Hz", 100, 100.0)
    stop = threading.Event()

    def disturb() -> None:
        with SifiganClient(server.http_url) as client:
            while not stop.is_set():
                client.synthesize(request.f0, request.mcep, request.bap)

    others = threading.Thread(target=disturb)
    others.start()
    try:
        with (
            patch.object(probe, "COUNTED_S", 0.3),
            pytest.raises(ValueError, match="measure a server that nobody else uses"),
        ):
            Probe(server.http_url, server.metrics_url).round(calls=8)
    finally:
        stop.set()
        others.join()


def test_a_wrong_name_or_address_is_told(small_deployment: Deployment) -> None:
    server = small_deployment.server
    with pytest.raises(ServerUnavailableError, match=r"has no model nobody: .*name the ensemble with --model"):
        Probe(server.http_url, server.metrics_url, "nobody")
    with pytest.raises(ServerUnavailableError, match="no Triton server answers"):
        Probe("127.0.0.1:9", server.metrics_url)
    with pytest.raises(ValueError, match="preprocess is no ensemble of three steps"):
        Probe(server.http_url, server.metrics_url, "preprocess")

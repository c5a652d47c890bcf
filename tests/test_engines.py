"""Every kind of engine behind the ensemble, on the real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tracks import full_length, track_request
from preprocess import Voice
from sifigan_triton.build import BuildOptions, build
from sifigan_triton.client import SifiganClient
from sifigan_triton.export import snr_db
from sifigan_triton.generator import Generator
from sifigan_triton.repository import ENGINES
from sifigan_triton.server import TritonServer
from sifigan_triton.voices import RANDOM_CARD, random_voice, save_voice

WINDOW, F0_FLOOR = 64, 200.0
BOUNDS_DB = {"f32": 110.0, "bf16": 40.0}
"""Least SNR against the full-length generator, by precision; a CPU without BF16 runs the BF16 engine in FP32."""


@pytest.fixture(scope="module")
def voice() -> tuple[Voice, Generator]:
    return random_voice("small", channels=64)


@pytest.fixture(scope="module")
def repository(voice: tuple[Voice, Generator], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    save_voice(folder / "voice", *voice, RANDOM_CARD)
    engines = tuple(ENGINES.values())
    build(BuildOptions(folder / "voice", folder / "models", engines, engines[0], WINDOW, F0_FLOOR))
    return folder / "models"


@pytest.mark.server
@pytest.mark.parametrize("engine", ENGINES)
def test_engine_behind_the_ensemble(repository: Path, voice: tuple[Voice, Generator], engine: str) -> None:
    kind = ENGINES[engine]
    options = BuildOptions(repository.parent / "voice", repository, tuple(ENGINES.values()), kind, WINDOW, F0_FLOOR)
    build(options)  # only the ensemble's config.pbtxt changes
    request = track_request("glide", 3 * WINDOW + 17, F0_FLOOR)
    with (
        TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as server,
        SifiganClient(server.http_url) as client,
    ):
        before = client.steps()[kind.model]
        waveform = client.synthesize(request.f0, request.mcep, request.bap)
        assert (client.steps()[kind.model] - before).inferences == 4
    assert snr_db(full_length(request, *voice), waveform) >= BOUNDS_DB[kind.precision]

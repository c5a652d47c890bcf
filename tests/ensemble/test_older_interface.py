"""`sifigan-tensors` on the real server: clients and perf_analyzer files of the older bare engines work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from benchmarks.older_interface import older_tensors, write
from benchmarks.tracks import full_length, shipped, track_request
from preprocess import Settings
from preprocess.older_tensors import EXCITATION, FACTORS, FEATURES
from sifigan_triton.client import SifiganClient, SynthesisError
from sifigan_triton.features.requests import Request
from sifigan_triton.measure import perf_analyzer
from sifigan_triton.quality import snr_db
from sifigan_triton.repository.engine_kinds import ENGINES, EngineKind
from sifigan_triton.repository.ensemble_config import older_ensemble_config
from sifigan_triton.repository.model_plan import plan_models
from sifigan_triton.repository.staging import stage_model
from sifigan_triton.server.triton_server import TritonServer
from tests.conftest import Deployment
from tests.metrics_page import read_samples, soon
from tests.small_voice import random_features, small_settings, small_voice
from tests.toy_models import write_engine

VOICE = small_voice()[0]
SETTINGS = small_settings(VOICE, f0_floor=70.0)[0]
STATIC, DYNAMIC = ENGINES["openvino-fp32"], ENGINES["onnx-fp32"]
FRAMES = 40
BOUND_DB = 110.0

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Connection:
    """A client of the server on one protocol."""

    server: TritonServer
    api: Any
    client: Any

    def infer(self, model: str, tensors: Tensors, output: str) -> np.ndarray:
        inputs = []
        for name, values in tensors.items():
            tensor = self.api.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
            tensor.set_data_from_numpy(values)
            inputs.append(tensor)
        return np.asarray(self.client.infer(model, inputs).as_numpy(output))

    def older(self, tensors: Tensors) -> np.ndarray:
        """Call the older interface as its clients do, with a batch axis in front of every tensor."""
        return self.infer("sifigan-tensors", {name: values[None] for name, values in tensors.items()}, "OUTPUT__0")

    def repaired(self) -> dict[str, float]:
        """Read the count of repaired frames of each model."""
        samples = read_samples(self.server.metrics_url).items()
        return {
            dict(labels)["model"]: count for (name, labels), count in samples if name == "sifigan_repaired_frames_total"
        }


def stage(repository: Path, kind: EngineKind) -> None:
    """Write a repository around an engine that is a toy: a sum over each frame's inputs, on top of the excitation."""
    for plan in plan_models(SETTINGS, "", [kind], kind):
        if plan.name == kind.model:
            write_engine(repository, plan.name, plan.config_text, SETTINGS.halo if kind.static else 0)
        else:
            stage_model(repository, plan)


@pytest.fixture(scope="module", params=[STATIC, DYNAMIC], ids=["static", "dynamic"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("models")
    stage(repository, request.param)
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


def connect(server: TritonServer, protocol: str) -> Connection:
    api = tritonclient.http if protocol == "http" else tritonclient.grpc
    return Connection(
        server, api, api.InferenceServerClient(server.http_url if protocol == "http" else server.grpc_url)
    )


@pytest.fixture(params=["http", "grpc"])
def connection(server: TritonServer, request: pytest.FixtureRequest) -> Iterator[Connection]:
    connected = connect(server, request.param)
    yield connected
    connected.client.close()


def sung(frames: int) -> Request:
    return Request(np.geomspace(80.0, 700.0, frames).astype(np.float32), *random_features(VOICE, frames))


def test_the_batch_axis_is_that_of_the_older_engines() -> None:
    config = older_ensemble_config(SETTINGS, STATIC)
    assert (config.name, config.max_batch_size) == ("sifigan-tensors", 1)
    tensors = {tensor.name: list(tensor.dims) for tensor in (*config.input, *config.output)}
    assert tensors == {
        "INPUT__0": [1, -1],
        "INPUT__1": [43, -1],
        "INPUT__2": [4, -1],
        "repair": [1],
        "OUTPUT__0": [1, -1],
    }


@pytest.mark.server
@pytest.mark.parametrize("frames", [1, 31, 32, 33, 64, 300])
def test_same_audio_as_from_the_features(connection: Connection, frames: int) -> None:
    request = sung(frames)
    expected = connection.infer("sifigan", vars(request), "waveform")
    waveform = connection.older(older_tensors(request, VOICE))
    assert waveform.shape == (1, 1, frames * 120)
    assert np.std(expected) > 1e-3
    np.testing.assert_array_equal(waveform[0, 0], expected)


TENSORS = older_tensors(sung(FRAMES), VOICE)
BAD: dict[str, tuple[Tensors, str]] = {
    "no batch axis": (TENSORS, r"'INPUT__\d' batch size does not match other inputs for 'sifigan-tensors'"),
    "two utterances": (
        {name: np.stack([values, values]) for name, values in TENSORS.items()},
        r"batch-size must be <= 1 for 'sifigan-tensors'",
    ),
    "FP16": (
        {name: values[None].astype(np.float16) for name, values in TENSORS.items()},
        r"data-type is 'FP16', but model 'sifigan-tensors' expects 'FP32'",
    ),
    "factors missing": (
        {name: TENSORS[name][None] for name in (EXCITATION, FEATURES)},
        r"in ensemble 'sifigan-tensors', INPUT__2 missing, expected INPUT__0, INPUT__1 and INPUT__2",
    ),
    "features in place of the factors": (
        {**{name: TENSORS[name][None] for name in (EXCITATION, FEATURES)}, FACTORS: TENSORS[FEATURES][None]},
        r"'INPUT__2' for model 'sifigan-tensors'. Expected \[-1,4,-1\], got \[1,43,40\]",
    ),
    "below the floor": (
        {**{name: TENSORS[name][None] for name in (EXCITATION, FEATURES)}, FACTORS: 1e5 * TENSORS[FACTORS][None]},
        r"INPUT__2 row . is \S+ at frame 0, an f0 of 0\.00 Hz, below the engine's floor of (70|1) Hz",
    ),
}


@pytest.mark.server
@pytest.mark.parametrize("case", BAD)
def test_bad_request(connection: Connection, case: str) -> None:
    tensors, message = BAD[case]
    with pytest.raises(InferenceServerException) as raised:
        connection.infer("sifigan-tensors", tensors, "OUTPUT__0")
    assert re.search(message, str(raised.value)), str(raised.value)
    assert "Traceback" not in str(raised.value)
    assert np.isfinite(connection.older(TENSORS)).all()


@pytest.mark.server
def test_repair_is_asked_for_counted_and_the_same_through_both(connection: Connection) -> None:
    request = sung(FRAMES)
    tensors = older_tensors(request, VOICE)
    request.bap[[9, 20, 21], 1] = np.nan
    tensors[FEATURES][41, [9, 20, 21]] = np.nan
    with pytest.raises(InferenceServerException, match=r"INPUT__1 \(bap\) is nan at frame 9.* frames 9, 20-21\): mend"):
        connection.older(tensors)
    with pytest.raises(InferenceServerException, match=r"bap is nan at frame 9.* frames 9, 20-21\): mend"):
        connection.infer("sifigan", vars(request), "waveform")
    asked = {"repair": np.ones(1, np.bool_)}
    before = connection.repaired()
    assert len(before) == 2  # both models count, each under its own name
    waveform = connection.older(tensors | asked)
    expected = connection.infer("sifigan", vars(request) | asked, "waveform")
    np.testing.assert_array_equal(waveform[0, 0], expected)
    assert np.isfinite(waveform).all()
    expected_counts = {model: count + 3.0 for model, count in before.items()}
    assert soon(connection.repaired, expected_counts) == expected_counts


@pytest.mark.server
def test_the_client_asks_for_repair(server: TritonServer) -> None:
    request = sung(FRAMES)
    request.f0[30] = np.nan
    with SifiganClient(server.http_url) as client:
        with pytest.raises(SynthesisError, match="f0 is nan at frame 30"):
            client.synthesize(request.f0, request.mcep, request.bap)
        waveform = client.synthesize(request.f0, request.mcep, request.bap, repair=True)
    assert np.isfinite(waveform).all()


@pytest.mark.server
@pytest.mark.parametrize("server", [STATIC], ids=["static"], indirect=True)
def test_perf_analyzer_takes_the_file_of_the_older_shape(server: TritonServer, tmp_path: Path) -> None:
    file = tmp_path / "older-627.json"
    write(file, [older_tensors(shipped("frames-627")[0], VOICE)])
    times = perf_analyzer.send("sifigan-tensors", server.grpc_url, "grpc", file, 1, 3)
    assert len(times) == 3


@pytest.mark.server
def test_served_engine_equals_the_full_length_generator(small_deployment: Deployment) -> None:
    settings: Settings = small_deployment.settings
    request = track_request("glide", 5 * settings.window + 17, settings.f0_floor)
    reference = full_length(request, settings.voice, small_deployment.generator)
    connected = connect(small_deployment.server, "grpc")
    waveform = connected.older(older_tensors(request, settings.voice))
    connected.client.close()
    assert snr_db(reference, waveform[0, 0]) >= BOUND_DB

"""What an engine makes of a request is audio, or it is an error: NaN and Inf reach no client."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from sifigan_triton.client import SifiganClient, SynthesisError
from sifigan_triton.features.requests import Request
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.model_plan import plan_models
from sifigan_triton.repository.staging import stage_model
from sifigan_triton.server.triton_server import TritonServer
from tests.small_voice import random_features, small_settings, small_voice

pytestmark = pytest.mark.server

VOICE = small_voice()[0]
SETTINGS = small_settings(VOICE, f0_floor=70.0)[0]
DYNAMIC = ENGINES["onnx-fp32"]
RUNTIME = """
import numpy as np

class Engine:
    sized, batch = False, 1

    def __init__(self, folder, precision, inputs):
        pass

    def run(self, windows):
        waveform = windows["excitation"].copy()
        loud = np.abs(windows["features"][0]).max(axis=0) > 20.0
        waveform[0, 0].reshape(-1, 120)[loud, 7:] = {value}
        return waveform
"""
"""Fails, as a network does that overflows, in frames whose features are far from the voice's mean."""


@pytest.fixture(scope="module", params=["nan", "inf"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("models")
    for plan in plan_models(SETTINGS, "", [DYNAMIC], DYNAMIC):
        if plan.name == DYNAMIC.model:
            plan = replace(plan, files={**plan.files, "runtime.py": RUNTIME.format(value=f"np.{request.param}")})
        stage_model(repository, plan)
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


def features(loud: bool) -> Request:
    request = Request(np.full(40, 200.0, np.float32), *random_features(VOICE, 40))
    if loud:
        request.mcep[[5, 9], 7] = VOICE.mcep.mean[7] + 30.0 * VOICE.mcep.scale[7]
    return request


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("method", ["synthesize", "synthesize_pcm16"])
def test_a_client_gets_an_error_that_names_the_frame(server: TritonServer, protocol: str, method: str) -> None:
    url = server.http_url if protocol == "http" else f"grpc://{server.grpc_url}"
    message = r"waveform is (nan|inf) at frame 5 \(sample 607\), expected finite samples \(226 of 4800 are NaN or Inf\)"
    with SifiganClient(url) as client:
        with pytest.raises(SynthesisError, match=message):
            getattr(client, method)(**vars(features(loud=True)))
        assert getattr(client, method)(**vars(features(loud=False))).shape == (4800,)


def test_json_holds_no_nan(server: TritonServer) -> None:
    inputs = [
        {"name": name, "datatype": "FP32", "shape": list(values.shape), "data": values.ravel().tolist()}
        for name, values in vars(features(loud=True)).items()
    ]
    call = urllib.request.Request(
        f"http://{server.http_url}/v2/models/sifigan/infer", json.dumps({"inputs": inputs}).encode()
    )
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(call)
    with raised.value as answer:
        assert answer.code == 500
        assert "at frame 5 (sample 607)" in json.loads(answer.read())["error"]

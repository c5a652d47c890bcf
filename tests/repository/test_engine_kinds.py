"""Every kind of engine that needs no NVIDIA GPU, bare and behind its ensemble, on the real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from benchmarks.tracks import DATA, full_length, shipped, track_request
from preprocess import Settings, condition
from preprocess.names import DYNAMIC_INPUTS, STATIC_INPUTS
from preprocess.windows import split
from sifigan_triton.build.model_repository import BuildOptions, build
from sifigan_triton.client import SifiganClient
from sifigan_triton.network.crop_plan import crop_plan
from sifigan_triton.quality import snr_db
from sifigan_triton.repository.engine_kinds import ENGINES, EngineKind
from sifigan_triton.server.triton_server import TritonServer
from sifigan_triton.voice.folder import RANDOM_CARD, load_voice, random_voice, save_voice
from tests.conftest import Deployment
from tests.small_voice import FloatArray

WINDOW, F0_FLOOR = 64, 150.0
KINDS = tuple(kind for kind in ENGINES.values() if kind.runtime != "trt")
BOUNDS_DB = {"fp32": 100.0, "fp16": 50.0, "bf16": 40.0}
"""Least SNR against the full-length generator for this small voice; a CPU without BF16 runs the BF16 engine in FP32."""
FP16_BOUND_DB = 55.0
BATCH_BOUNDS_DB = {"fp32": 100.0, "fp16": 60.0, "bf16": 60.0}
"""Least SNR of a batch of 8 against 8 batches of one."""

pytestmark = pytest.mark.server
by_name = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A voice of 64 channels with every engine at once."""
    folder = tmp_path_factory.mktemp("engines")
    voice, generator = random_voice("small", channels=64)
    save_voice(folder / "voice", voice, generator, RANDOM_CARD)
    options = BuildOptions(folder / "voice", folder / "models", KINDS, ENGINES["openvino-fp32"], WINDOW, F0_FLOOR)
    build(replace(options, gate_data=(DATA / "short.json",)))
    settings = Settings(voice, WINDOW, crop_plan(voice, WINDOW, F0_FLOOR).halo, F0_FLOOR, options.max_batch_size)
    with TritonServer(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield Deployment(server, settings, generator)


@by_name
def test_engine_behind_its_ensemble(deployment: Deployment, kind: EngineKind) -> None:
    request = track_request("glide", 3 * WINDOW + 17, F0_FLOOR)
    with SifiganClient(deployment.server.http_url, kind.ensemble) as client:
        before, expected = client.steps()[kind.model].inferences, 4 if kind.static else 1
        waveform = client.synthesize(request.f0, request.mcep, request.bap)
        give_up = time.monotonic() + 20.0
        while client.steps()[kind.model].inferences < before + expected and time.monotonic() < give_up:
            time.sleep(0.05)  # Triton counts a request when its answer has left
        assert client.steps()[kind.model].inferences == before + expected
    reference = full_length(request, deployment.voice, deployment.generator)
    assert snr_db(reference, waveform) >= BOUNDS_DB[kind.precision]


def test_default_engine_is_behind_sifigan(deployment: Deployment) -> None:
    request = track_request("glide", WINDOW, F0_FLOOR)
    waveforms = []
    for ensemble in ("sifigan", ENGINES["openvino-fp32"].ensemble):
        with SifiganClient(deployment.server.http_url, ensemble) as client:
            waveforms.append(client.synthesize(request.f0, request.mcep, request.bap))
    np.testing.assert_array_equal(*waveforms)


@pytest.mark.parametrize("dynamic", ["pt-fp32", "onnx-fp32", "onnx-fp16"])
def test_dynamic_and_static_engines_agree_on_the_long_recording(deployment: Deployment, dynamic: str) -> None:
    (request,) = shipped("long")
    waveforms = {}
    for name in ("openvino-fp32", dynamic):
        with SifiganClient(f"grpc://{deployment.server.grpc_url}", ENGINES[name].ensemble) as client:
            waveforms[name] = client.synthesize(request.f0, request.mcep, request.bap)
    assert waveforms[dynamic].size == 2440 * 120
    assert snr_db(waveforms["openvino-fp32"], waveforms[dynamic]) >= BOUNDS_DB[ENGINES[dynamic].precision]


def test_dynamic_engines_take_what_lies_below_the_floor(deployment: Deployment) -> None:
    request = track_request("floor", 50, 50.0)
    with SifiganClient(deployment.server.http_url, ENGINES["pt-fp32"].ensemble) as client:
        waveform = client.synthesize(request.f0, request.mcep, request.bap)
    assert snr_db(full_length(request, deployment.voice, deployment.generator), waveform) >= BOUNDS_DB["fp32"]


def eight(settings: Settings, static: bool) -> dict[str, np.ndarray]:
    """Return a batch of 8 for a bare engine: windows of one utterance, or utterances of one length."""
    if static:
        request = track_request("recordings", 8 * settings.window - 5, settings.f0_floor)
        windows = split(*condition(request.f0, request.mcep, request.bap, settings.voice), settings)
        return {name: getattr(windows, name) for name in STATIC_INPUTS}
    whole = track_request("recordings", 8 * 40, settings.f0_floor)
    parts = [slice(start, start + 40) for start in range(0, 320, 40)]
    inputs = [condition(whole.f0[part], whole.mcep[part], whole.bap[part], settings.voice) for part in parts]
    return dict(zip(DYNAMIC_INPUTS, map(np.stack, zip(*inputs, strict=True)), strict=True))


def infer(server: TritonServer, model: str, inputs: dict[str, np.ndarray]) -> FloatArray:
    """Call a bare engine with a batch."""
    tensors = []
    for name, values in inputs.items():
        tensors.append(triton.InferInput(name, list(values.shape), "INT32" if values.dtype == np.int32 else "FP32"))
        tensors[-1].set_data_from_numpy(np.ascontiguousarray(values))
    with triton.InferenceServerClient(server.grpc_url) as client:
        waveform: FloatArray = client.infer(model, tensors).as_numpy("waveform")
    return waveform


@by_name
def test_batch_of_eight_equals_eight_batches_of_one(deployment: Deployment, kind: EngineKind) -> None:
    batch = eight(deployment.settings, kind.static)
    together = infer(deployment.server, kind.model, batch)
    assert together.shape == (8, 1, (WINDOW if kind.static else 40) * 120)
    for index, waveform in enumerate(together):
        alone = infer(deployment.server, kind.model, {name: x[index : index + 1] for name, x in batch.items()})
        assert np.std(alone) > 1e-3
        assert snr_db(alone, waveform[None]) >= BATCH_BOUNDS_DB[kind.precision]
        assert snr_db(alone, together[(index + 1) % 8][None]) < 10.0, "the windows differ"


@pytest.mark.parametrize("name", ["random", "demo"])
def test_fp16_of_voices_that_matter(random_folder: Path, name: str, tmp_path: Path) -> None:
    """The random voice at full size, because FP16 costs a small one some dB more; and a trained voice."""
    folder = random_folder.parent / name
    kinds = (ENGINES["pt-fp16"], ENGINES["onnx-fp16"])
    build(BuildOptions(folder, tmp_path, kinds, window=20, f0_floor=F0_FLOOR, gate_data=()))
    request = shipped("short")[0].first(30)
    reference = full_length(request, *load_voice(folder))
    with TritonServer(tmp_path, http_port=0, grpc_port=0, metrics_port=0) as server:
        for kind in kinds:
            with SifiganClient(server.http_url, kind.ensemble) as client:
                waveform = client.synthesize(request.f0, request.mcep, request.bap)
            assert snr_db(reference, waveform) >= FP16_BOUND_DB, kind.name

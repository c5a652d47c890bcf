"""The `config.pbtxt` files agree with each other, with the voice, and with what is committed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from preprocess import Settings, Windows, preprocess
from sifigan_triton.build import BuildOptions
from sifigan_triton.halo import crop_plan
from sifigan_triton.repository import ENGINES, HEADER, render_configs, request_tensors, window_tensors
from sifigan_triton.voices import random_voice
from tests.small_voice import random_features, small_settings, small_voice

REPOSITORY = Path(__file__).parent.parent / "model_repository"
SMALL = small_settings(small_voice()[0])[0]
KINDS = list(ENGINES.values())
TYPES = {"float32": pb.TYPE_FP32, "int32": pb.TYPE_INT32, "int64": pb.TYPE_INT64}

Signature = tuple[int, tuple[int, ...]]


def parse(text: str) -> pb.ModelConfig:
    return text_format.Parse(text, pb.ModelConfig())


def configs(default: str = "openvino-fp32") -> dict[str, pb.ModelConfig]:
    return {name: parse(text) for name, text in render_configs(SMALL, KINDS, ENGINES[default]).items()}


def signatures(config: pb.ModelConfig, side: str) -> dict[str, Signature]:
    """Return data type and dimensions, the batch axis included, of a model's inputs or outputs."""
    batch = (-1,) if config.max_batch_size > 0 else ()
    return {tensor.name: (tensor.data_type, (*batch, *tensor.dims)) for tensor in getattr(config, side)}


def default_settings() -> Settings:
    options = BuildOptions(Path(), Path(), engines=())
    voice, _ = random_voice(channels=512)
    plan = crop_plan(voice, options.window, options.f0_floor)
    return Settings(voice, plan.window, plan.halo, plan.f0_floor, options.max_batch_size)


def test_every_model_has_a_config_under_its_name() -> None:
    rendered = configs()
    assert set(rendered) == {"sifigan", "preprocess", "postprocess", *(kind.model for kind in KINDS)}
    assert all(name == config.name for name, config in rendered.items())


def test_text_says_where_it_comes_from() -> None:
    assert all(text.startswith(HEADER) for text in render_configs(SMALL, KINDS, KINDS[0]).values())


@pytest.mark.parametrize("default", ENGINES)
def test_every_edge_of_the_ensemble_agrees(default: str) -> None:
    rendered = configs(default)
    ensemble = rendered["sifigan"]
    known = signatures(ensemble, "input")
    for step in ensemble.ensemble_scheduling.step:
        model = rendered[step.model_name]
        inputs, outputs = signatures(model, "input"), signatures(model, "output")
        assert set(step.input_map) == set(inputs), f"{step.model_name} has inputs that nothing feeds"
        for name, source in step.input_map.items():
            assert inputs[name] == known[source], f"{source} -> {step.model_name}.{name}"
        assert set(step.output_map) <= set(outputs)
        known |= {target: outputs[name] for name, target in step.output_map.items()}
    for name, signature in signatures(ensemble, "output").items():
        assert known[name] == signature, name
    assert [step.model_name for step in ensemble.ensemble_scheduling.step] == [
        "preprocess",
        f"sifigan-{default}",
        "postprocess",
    ]


def test_absent_inputs_reach_preprocess_which_says_what_is_missing() -> None:
    rendered = configs()
    optional = [{t.name for t in rendered[name].input if t.optional} for name in ("sifigan", "preprocess")]
    assert optional == [{"f0", "mcep", "bap", "f0_factor", "seed"}] * 2


def test_only_engines_batch() -> None:
    batch = {name: config.max_batch_size for name, config in configs().items()}
    assert {name: size for name, size in batch.items() if size} == {kind.model: 128 for kind in KINDS}


def test_windows_fit_the_engine() -> None:
    mcep, bap = random_features(SMALL.voice, 50)
    windows: Windows = preprocess(np.full(50, 500.0, np.float32), mcep, bap, SMALL)
    for tensor in window_tensors(SMALL):
        values = getattr(windows, tensor.name)
        assert (2, *tensor.dims) == values.shape
        assert tensor.data_type == TYPES[str(values.dtype)]


def test_preprocess_takes_the_tensors_of_a_request() -> None:
    expected = [("f0", (-1,)), ("mcep", (-1, 40)), ("bap", (-1, 3)), ("f0_factor", (1,)), ("seed", (1,))]
    assert [(tensor.name, tensor.dims) for tensor in request_tensors(SMALL)] == expected


def test_preprocess_knows_its_settings() -> None:
    parameters = {key: value.string_value for key, value in configs()["preprocess"].parameters.items()}
    assert parameters == {"window": "32", "halo": str(SMALL.halo), "f0_floor": "400.0", "max_batch_size": "128"}


def test_engines_know_their_precision() -> None:
    precision = {kind.name: configs()[kind.model].parameters["precision"].string_value for kind in KINDS}
    assert precision == {"openvino-fp32": "f32", "openvino-bf16": "bf16", "onnx-fp32": "f32"}


def test_the_default_allows_five_minutes() -> None:
    settings = default_settings()
    assert settings.seconds(settings.longest_frames) >= 300.0


def committed() -> list[str]:
    return sorted(path.parent.name for path in REPOSITORY.glob("*/config.pbtxt"))


def test_the_default_models_are_committed() -> None:
    assert {"sifigan", "preprocess", "postprocess", "sifigan-openvino-fp32"} <= set(committed())


@pytest.mark.parametrize("model", ["sifigan", "preprocess", "postprocess", "sifigan-openvino-fp32"])
def test_committed_config_is_that_of_the_default_build(model: str) -> None:
    """On a CPU with BF16 the default build puts the BF16 engine behind the ensemble, and nothing else differs."""
    text = (REPOSITORY / model / "config.pbtxt").read_text(encoding="utf-8")
    renderings = [
        render_configs(default_settings(), KINDS, ENGINES[engine])[model]
        for engine in ("openvino-fp32", "openvino-bf16")
    ]
    assert text in renderings

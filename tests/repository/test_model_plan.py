"""The planned models agree with each other, with the voice, and with what is committed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from preprocess import Settings, Windows, preprocess
from sifigan_triton.build.options import BuildOptions
from sifigan_triton.network.crop_plan import crop_plan
from sifigan_triton.repository.engine_kinds import ENGINES, PLATFORMS, EngineKind, Platform
from sifigan_triton.repository.ensemble_config import request_tensors
from sifigan_triton.repository.model_config import window_tensors
from sifigan_triton.repository.model_plan import HEADER, ModelPlan, plan_models
from sifigan_triton.voice.folder import random_voice
from tests.small_voice import random_features, small_settings, small_voice

ROOT = Path(__file__).parents[2]
REPOSITORY = ROOT / "model_repository"
SMALL = small_settings(small_voice()[0])[0]
KINDS = list(ENGINES.values())
VOICE_SHA256 = 64 * "0"
TYPES = {"float32": pb.TYPE_FP32, "int32": pb.TYPE_INT32, "int64": pb.TYPE_INT64}

Dims = tuple[int, ...]
Signature = tuple[int, Dims]


def parse(text: str) -> pb.ModelConfig:
    return text_format.Parse(text, pb.ModelConfig())


def plans(
    engines: Sequence[EngineKind] = KINDS,
    default: str = "openvino-fp32",
    platform: Platform = "wheel",
    settings: Settings = SMALL,
) -> dict[str, ModelPlan]:
    return {plan.name: plan for plan in plan_models(settings, VOICE_SHA256, engines, ENGINES[default], platform)}


def configs(default: str = "openvino-fp32", platform: Platform = "wheel") -> dict[str, pb.ModelConfig]:
    return {name: parse(plan.config_text) for name, plan in plans(KINDS, default, platform).items()}


RENDERINGS = [
    pytest.param(configs(default, platform), id=f"{platform}-{default}")
    for platform in PLATFORMS
    for default in ENGINES
]
"""Every rendering of the whole repository."""


def shapes(config: pb.ModelConfig, dims: Dims) -> list[Dims]:
    """Return the ways in which Triton reads dimensions: as they are, and with the batch axis of a batching model."""
    return [dims, (-1, *dims) if config.max_batch_size > 0 else dims]


def agree(one: list[Dims], other: list[Dims]) -> bool:
    """Compare two tensors of an ensemble as Triton does when it loads one (core, `ValidateEnsembleConfig`)."""
    return any(
        len(a) == len(b) and all(x == y or -1 in (x, y) for x, y in zip(a, b, strict=True))
        for a, b in zip(one, other, strict=True)
    )


def signatures(config: pb.ModelConfig, side: str) -> dict[str, Signature]:
    """Return data type and dimensions, the batch axis included, of a model's inputs or outputs."""
    return {tensor.name: (tensor.data_type, shapes(config, tuple(tensor.dims))[-1]) for tensor in getattr(config, side)}


def default_settings() -> Settings:
    options = BuildOptions(Path(), Path(), engines=())
    voice, _ = random_voice(channels=512)
    plan = crop_plan(voice, options.window, options.f0_floor)
    return Settings(voice, plan.window, plan.halo, plan.f0_floor, options.max_batch_size)


@pytest.mark.parametrize("rendered", RENDERINGS)
def test_every_model_has_a_config_under_its_name(rendered: dict[str, pb.ModelConfig]) -> None:
    engines = {name for kind in KINDS for name in (kind.model, kind.ensemble)}
    assert set(rendered) >= {"sifigan", "preprocess", "preprocess-dynamic", "postprocess", *engines}
    assert all(name == config.name for name, config in rendered.items())


def test_text_says_where_it_comes_from() -> None:
    assert all(plan.config_text.startswith(HEADER) for plan in plans().values())
    pattern = HEADER.split(" change ")[1].split(",")[0]
    assert {path.name for path in ROOT.glob(pattern)} >= {"model_config.py", "engine_config.py", "ensemble_config.py"}


@pytest.mark.parametrize("rendered", RENDERINGS)
def test_every_edge_of_every_ensemble_agrees(rendered: dict[str, pb.ModelConfig]) -> None:
    ensembles = [config for config in rendered.values() if config.platform == "ensemble"]
    assert len(ensembles) >= 1 + len(KINDS)
    for ensemble in ensembles:
        assert not ensemble.instance_group
        assert not ensemble.HasField("optimization")
        known = {t.name: (t.data_type, shapes(ensemble, tuple(t.dims))) for t in ensemble.input}
        results = {t.name: (t.data_type, shapes(ensemble, tuple(t.dims))) for t in ensemble.output}
        written, read = set(known), set(results)
        for step in ensemble.ensemble_scheduling.step:
            model = rendered[step.model_name]
            assert model.max_batch_size == 0 or model.max_batch_size >= ensemble.max_batch_size
            assert (
                {t.name for t in model.input if not t.optional} <= set(step.input_map) <= {t.name for t in model.input}
            )
            assert set(step.output_map) <= {t.name for t in model.output}
            sides = ((model.input, step.input_map, read), (model.output, step.output_map, written))
            for ports, mapping, names in sides:
                for port in (port for port in ports if port.name in mapping):
                    name = mapping[port.name]
                    names.add(name)
                    signature = (port.data_type, shapes(model, tuple(port.dims)))
                    for other in (known.setdefault(name, signature), results.get(name, signature)):
                        where = f"{ensemble.name}: {step.model_name}.{port.name} -> {name}"
                        assert signature[0] == other[0], where
                        assert agree(signature[1], other[1]), where
        assert written == read, f"{ensemble.name}: every tensor is made and used"


@pytest.mark.parametrize("rendered", RENDERINGS)
def test_an_engine_stands_between_preprocess_and_postprocess(rendered: dict[str, pb.ModelConfig]) -> None:
    for kind in KINDS:
        steps = [step.model_name for step in rendered[kind.ensemble].ensemble_scheduling.step]
        assert steps == ["preprocess" if kind.static else "preprocess-dynamic", kind.model, "postprocess"]
    default = rendered["sifigan"].ensemble_scheduling
    assert default in [rendered[kind.ensemble].ensemble_scheduling for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_both_platforms_have_the_same_models_and_tensors(kind: EngineKind) -> None:
    """All but two: an engine of the wheel may be told what is wanted until when, which native backends cannot be."""
    wheel, container = (configs(platform=platform) for platform in PLATFORMS)
    assert set(wheel) == set(container)
    turns = {name: (pb.TYPE_INT64, (-1, 1)) for name in ("wanted", "deadline")}
    one, other = (signatures(rendered[kind.model], "input") for rendered in (wheel, container))
    assert one == other | turns
    assert not turns.keys() & other.keys()
    assert [tensor.name for tensor in wheel[kind.model].input if tensor.optional] == ["wanted", "deadline"]
    one, other = (signatures(rendered[kind.model], "output") for rendered in (wheel, container))
    assert one == other
    for name in set(wheel) - {kind.model for kind in KINDS}:
        for side in ("input", "output"):
            assert signatures(wheel[name], side) == signatures(container[name], side)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_deadline_goes_from_the_first_step_to_all_that_know_it(platform: Platform) -> None:
    ensembles = [config for config in configs(platform=platform).values() if config.platform == "ensemble"]
    for ensemble in ensembles:
        first, engine, last = ensemble.ensemble_scheduling.step
        assert first.output_map["deadline"] == last.input_map["deadline"] == "deadline"
        assert engine.input_map.get("deadline") == ("deadline" if platform == "wheel" else None)
        assert "deadline" not in {tensor.name for tensor in (*ensemble.input, *ensemble.output)}


def test_postprocess_needs_neither_deadline_nor_beginning() -> None:
    assert [tensor.name for tensor in configs()["postprocess"].input if tensor.optional] == ["first_sample", "deadline"]


@pytest.mark.parametrize(
    ("engine", "backend", "file", "batch"),
    [
        ("pt-fp16", "pytorch", "model.pt", 128),
        ("onnx-fp32", "onnxruntime", "model.onnx", 128),
        ("trt-fp16", "tensorrt", "model.plan", 128),
        ("openvino-fp32", "openvino", "model.onnx", 0),  # its backend makes the batch axis static
    ],
)
def test_native_backends(engine: str, backend: str, file: str, batch: int) -> None:
    config = configs(platform="container")[ENGINES[engine].model]
    assert (config.backend, config.default_model_filename, config.max_batch_size) == (backend, file, batch)
    assert len(config.instance_group) == 1


def test_tensorrt_gets_graphs_pinned_memory_and_batches_that_fit() -> None:
    settings = replace(SMALL, max_batch_size=6)
    config = plans(platform="container", settings=settings)["sifigan-trt-fp16"].config
    assert config.optimization.cuda.graphs
    assert config.optimization.input_pinned_memory.enable
    assert list(config.dynamic_batching.preferred_batch_size) == [1, 2, 4]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_one_loop_takes_the_windows_of_all_requests(kind: EngineKind) -> None:
    """A second process would have a loop of its own, and Triton would keep back requests to make batches of them."""
    config = configs()[kind.model]
    assert [group.count for group in config.instance_group] == [1]
    assert not config.HasField("dynamic_batching")
    assert not config.HasField("sequence_batching")


def test_only_bf16_asks_openvino_for_bf16() -> None:
    rendered = configs(platform="container")
    hints = {kind.name: rendered[kind.model].parameters["HINT_BF16"].string_value for kind in KINDS}
    assert {name: hint for name, hint in hints.items() if hint} == {"openvino-bf16": "YES"}


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("engines", [["pt-fp32"], ["openvino-fp32"]], ids=["dynamic", "static"])
def test_only_what_is_needed_is_rendered(platform: Platform, engines: list[str]) -> None:
    kind = ENGINES[engines[0]]
    rendered = set(plans([kind], kind.name, platform))
    first_step = "preprocess" if kind.static else "preprocess-dynamic"
    assert {"sifigan", kind.ensemble, kind.model, first_step, "postprocess"} <= rendered
    assert not {"preprocess", "preprocess-dynamic"} - {first_step} & rendered


def test_absent_inputs_reach_preprocess_which_says_what_is_missing() -> None:
    rendered = configs()
    optional = [{t.name for t in rendered[name].input if t.optional} for name in ("sifigan", "preprocess")]
    utterance, a_range = {"f0", "mcep", "bap", "f0_factor", "seed", "repair"}, {"range", "phase", "voiced_around"}
    assert optional == [utterance | a_range] * 2


def test_only_engines_batch() -> None:
    batch = {name: config.max_batch_size for name, config in configs().items()}
    engines = {kind.model: 128 for kind in KINDS}
    assert {name: size for name, size in batch.items() if size and "tensors" not in name} == engines


@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
def test_windows_fit_the_engine(static: bool) -> None:
    mcep, bap = random_features(SMALL.voice, 50)
    settings = replace(SMALL, dynamic=not static)
    windows: Windows = preprocess(np.full(50, 500.0, np.float32), mcep, bap, settings)
    count = 2 if static else 1
    for tensor in window_tensors(SMALL, static):
        values = getattr(windows, tensor.name)
        assert agree([(count, *tensor.dims)], [values.shape])
        assert tensor.data_type == TYPES[str(values.dtype)]


def test_preprocess_takes_the_tensors_of_a_request() -> None:
    expected = [("f0", (-1,)), ("mcep", (-1, 40)), ("bap", (-1, 3)), ("f0_factor", (1,)), ("seed", (1,))]
    expected += [("repair", (1,)), ("range", (4,)), ("phase", (1,)), ("voiced_around", (4,))]
    assert [(tensor.name, tensor.dims) for tensor in request_tensors(SMALL)] == expected


def test_preprocess_knows_its_settings() -> None:
    parameters = {key: value.string_value for key, value in configs()["preprocess"].parameters.items()}
    assert parameters == {"window": "32", "halo": str(SMALL.halo), "f0_floor": "400.0", "max_batch_size": "128"} | {
        "dynamic": "false"
    }


def test_dynamic_engines_have_no_halo_and_no_floor() -> None:
    parameters = {key: value.string_value for key, value in configs()["preprocess-dynamic"].parameters.items()}
    expected = {"window": "32", "halo": "0", "f0_floor": "1.0", "max_batch_size": "128", "dynamic": "true"}
    assert parameters == expected


def test_engines_know_their_precision() -> None:
    precision = {kind.name: configs()[kind.model].parameters["precision"].string_value for kind in KINDS}
    assert precision == {name: name.split("-")[1] for name in ENGINES}


def test_the_default_allows_five_minutes() -> None:
    settings = default_settings()
    assert settings.seconds(settings.longest_frames) >= 300.0


def committed() -> list[str]:
    return sorted(path.parent.name for path in REPOSITORY.glob("*/config.pbtxt"))


DEFAULT_MODELS = sorted(plans([ENGINES["openvino-fp32"]]))


def test_the_default_models_are_committed() -> None:
    assert set(DEFAULT_MODELS) <= set(committed())


@pytest.mark.parametrize("model", DEFAULT_MODELS)
def test_committed_config_is_that_of_the_default_build(model: str) -> None:
    """On a CPU with BF16 the default build puts the BF16 engine behind the ensemble, and nothing else differs."""
    text = (REPOSITORY / model / "config.pbtxt").read_text(encoding="utf-8")
    renderings = [
        plans(default=engine, settings=default_settings())[model].config_text
        for engine in ("openvino-fp32", "openvino-bf16")
    ]
    assert text in renderings


@pytest.mark.parametrize("kind", [ENGINES["openvino-fp32"], ENGINES["onnx-fp32"]], ids=["static", "dynamic"])
def test_first_steps_tell_their_voice_and_window(kind: EngineKind) -> None:
    planned = plans([kind], kind.name)
    expected = {"voice": SMALL.voice.name, "voice_sha256": VOICE_SHA256}
    if kind.static:
        expected |= {"window": SMALL.window, "halo": SMALL.halo, "f0_floor": SMALL.f0_floor}
    for name in (kind.first_step, "preprocess-tensors"):
        assert json.loads(planned[name].files["manifest.json"]) == expected

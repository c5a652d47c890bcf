"""A plan is built as asked, and what keeps one from being built is said in one message."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from preprocess import Settings
from sifigan_triton.build.tensorrt import plan as trt_plan
from sifigan_triton.build.tensorrt import progress as trt_progress
from sifigan_triton.build.tensorrt.library import TensorRTError, load_tensorrt_rtx
from sifigan_triton.build.tensorrt.plan import Plan, build_plan
from sifigan_triton.build.tensorrt.progress import Progress
from sifigan_triton.repository.tensorrt_plan import Gpu
from tests.small_build import logged
from tests.small_voice import small_settings, small_voice

FLOAT, HALF, INT32 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32


@pytest.fixture(scope="module")
def settings() -> Settings:
    return small_settings(small_voice()[0])[0]


def write_graph(path: Path, frames: int, batch: Any = "batch", operator: str = "Abs") -> Path:
    """A graph with the inputs of an engine that takes some milliseconds to build: FP16 inside, FP32 at its ends."""
    inputs = [
        helper.make_tensor_value_info("excitation", FLOAT, [batch, 1, frames * 120]),
        helper.make_tensor_value_info("features", FLOAT, [batch, 43, frames]),
        helper.make_tensor_value_info("offsets", INT32, [batch, 10, frames]),
        helper.make_tensor_value_info("bounds", INT32, [batch, 2]),
    ]
    nodes = [
        helper.make_node("Cast", ["excitation"], ["half"], "to_half", to=HALF),
        helper.make_node(operator, ["half"], ["absolute"], "absolute"),
        helper.make_node("Cast", ["absolute"], ["single"], "to_single", to=FLOAT),
        helper.make_node("Tanh", ["single"], ["waveform"], "tanh"),
        helper.make_node("Abs", ["features"], ["features_out"]),
        helper.make_node("Abs", ["offsets"], ["offsets_out"]),
        helper.make_node("Abs", ["bounds"], ["bounds_out"]),
    ]
    names = {"waveform": FLOAT, "features_out": FLOAT, "offsets_out": INT32, "bounds_out": INT32}
    outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in names.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def build(path: Path, settings: Settings, **options: Any) -> Plan:
    return build_plan(path, settings, load_tensorrt_rtx(), **{"compute_capability": "SM89", **options})


def test_plan(settings: Settings, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "tiny.onnx", settings.input_frames)
    with logged(logging.DEBUG) as lines:
        plan = build(path, settings, optimum_batch=8)
    assert len(plan.serialized) > 1000
    assert plan.batches == (1, 8, 128)
    assert plan.machine == {
        "tensorrt_library": "tensorrt_rtx",
        "tensorrt_version": load_tensorrt_rtx().__version__,
        "gpu_name": "",
        "compute_capability": "",
    }
    assert {layer.name: layer.precision for layer in plan.layers if layer.name[:2] in ("to", "ab", "ta")} == {
        "to_half": "FP16",
        "absolute": "FP16",
        "to_single": "FP32",
        "tanh": "FP32",
    }
    assert lines[0].startswith("tiny.onnx: 7 layers; building with tensorrt_rtx")
    assert lines[-1].startswith("tiny.onnx: plan of ")


@pytest.mark.parametrize("tf32", [False, True])
def test_fp32_is_not_rounded_unless_asked_for(
    tf32: bool, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags: list[bool] = []

    def note(session: Any, *_: Any) -> bytes:
        flags.append(session.config.get_flag(session.trt.BuilderFlag.TF32))
        return b"plan"

    monkeypatch.setattr(trt_plan, "_build", note)
    build(write_graph(tmp_path / "tiny.onnx", settings.input_frames), settings, tf32=tf32)
    assert flags == [tf32]


def test_the_profile_leaves_only_the_batch_open(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, shapes = trt_plan._profile, dict[str, Any]()

    def note(*arguments: Any) -> Any:
        profile = original(*arguments)
        shapes.update({name: [tuple(shape) for shape in profile.get_shape(name)] for name in ("features", "bounds")})
        return profile

    monkeypatch.setattr(trt_plan, "_profile", note)
    monkeypatch.setattr(trt_plan, "_build", lambda *_: b"plan")
    build(write_graph(tmp_path / "tiny.onnx", settings.input_frames), settings, optimum_batch=8)
    frames = settings.input_frames
    assert shapes == {"features": [(n, 43, frames) for n in (1, 8, 128)], "bounds": [(n, 2) for n in (1, 8, 128)]}


def test_progress_is_not_said_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress()
    progress.start("Timing kernels", 40)
    with logged() as lines:
        assert all(progress.step("Timing kernels", step) for step in range(40))
        assert lines == []
        monkeypatch.setattr(trt_progress, "INTERVAL_S", 0.0)
        assert progress.step("Timing kernels", 6)
    assert lines == ["  Timing kernels: step 7 of 40"]


def on_every_step(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every line of progress fail."""

    def fail(*line: Any) -> None:
        raise error

    monkeypatch.setattr(trt_progress, "INTERVAL_S", 0.0)
    monkeypatch.setattr(trt_progress.logger, "info", fail)


def test_a_failing_console_stops_the_very_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    on_every_step(monkeypatch, BrokenPipeError("the console is gone"))
    progress = Progress()
    assert not progress.step("Timing kernels", 0)
    with pytest.raises(BrokenPipeError, match="the console is gone"):
        progress.check()


def test_the_manifest_names_the_gpu(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = (Gpu("NVIDIA L4", "8.9"), Gpu("NVIDIA H200", "9.0"))
    monkeypatch.setattr(trt_plan, "read_gpus", lambda: gpus)
    monkeypatch.setattr(trt_plan, "_build", lambda *_: b"plan")
    plan = build(write_graph(tmp_path / "tiny.onnx", settings.input_frames), settings, compute_capability=None)
    assert (plan.machine["gpu_name"], plan.machine["compute_capability"]) == ("NVIDIA L4", "8.9")


@pytest.mark.parametrize("batch", [0, 129])
def test_an_optimum_batch_out_of_range_is_refused(batch: int, settings: Settings) -> None:
    with pytest.raises(TensorRTError, match=rf"optimum batch is {batch}, expected 1 to max_batch_size, 128"):
        build(Path("any.onnx"), settings, optimum_batch=batch)


def test_an_engine_of_other_settings_is_refused(settings: Settings, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "tiny.onnx", settings.input_frames + 2)
    message = rf"tiny\.onnx sees {settings.input_frames + 2} frames, expected {settings.input_frames} \(window 32, halo"
    with pytest.raises(TensorRTError, match=message):
        build(path, settings)


def test_an_engine_without_a_batch_axis_is_refused(settings: Settings, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "tiny.onnx", settings.input_frames, batch=1)
    with pytest.raises(
        TensorRTError, match=r"input excitation has the shape \(1, 1, \d+\), expected a batch axis of -1"
    ):
        build(path, settings)


def test_all_that_the_parser_says_is_in_the_message(settings: Settings, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "tiny.onnx", settings.input_frames, operator="NoSuchOperator")
    with pytest.raises(TensorRTError, match=r"cannot parse .*tiny\.onnx: .*NoSuchOperator"):
        build(path, settings)


def test_an_unknown_gpu_is_refused_with_the_known_ones(settings: Settings, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "tiny.onnx", settings.input_frames)
    with pytest.raises(TensorRTError, match=r"compute capability is 'SM10', TensorRT-RTX knows .*SM89"):
        build(path, settings, compute_capability="SM10")


def test_what_the_builder_says_is_in_the_message(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile that contradicts itself: the builder refuses it, and its reason reaches the caller."""
    monkeypatch.setattr(trt_plan, "_profile", lambda session, *_: session.builder.create_optimization_profile())
    path = write_graph(tmp_path / "tiny.onnx", settings.input_frames)
    with pytest.raises(TensorRTError, match=r"cannot build .*tiny\.onnx: .*profile"):
        build(path, settings)


def test_an_interrupted_step_cancels_the_build(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception must not cross TensorRT's C++ code; it comes out behind it."""
    on_every_step(monkeypatch, KeyboardInterrupt())
    path = write_graph(tmp_path / "tiny.onnx", settings.input_frames)
    with pytest.raises(KeyboardInterrupt):
        build(path, settings)


class FakeConfig:
    """Timing caches as TensorRT keeps them: one that was written elsewhere is not accepted."""

    def __init__(self) -> None:
        self.used: bytes | None = None

    def create_timing_cache(self, content: bytes) -> Any:
        return None if content == b"broken" else content

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        if ignore_mismatch or cache == b"other GPU":
            return False
        self.used = cache
        return True

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: (self.used or b"") + b"+new")


@pytest.mark.parametrize(
    ("content", "used", "said"),
    [
        pytest.param(None, b"", False, id="no-file"),
        pytest.param(b"timings", b"timings", False, id="fits"),
        pytest.param(b"other GPU", b"", True, id="other-gpu"),
        pytest.param(b"broken", b"", True, id="broken"),
    ],
)
def test_timing_cache(content: bytes | None, used: bytes, said: bool, tmp_path: Path) -> None:
    path, config = tmp_path / "timing.cache", FakeConfig()
    if content is not None:
        path.write_bytes(content)
    builder = SimpleNamespace(build_serialized_network=lambda network, config: b"plan")
    trt = SimpleNamespace(__name__="tensorrt", __version__="8.6.1")  # which has no progress monitor
    session: Any = SimpleNamespace(trt=trt, config=config, builder=builder, network=None, errors=[])
    with logged() as lines:
        assert trt_plan._build(session, Path("x.onnx"), path) == b"plan"
    assert config.used == used
    assert path.read_bytes() == used + b"+new"
    assert [line.endswith("is of another GPU or TensorRT: kernels are timed anew") for line in lines] == [True] * said


def test_rtx_leaves_the_timing_cache_alone(settings: Settings, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "tiny.onnx", settings.input_frames)
    build(path, settings, timing_cache=tmp_path / "timing.cache")
    assert not (tmp_path / "timing.cache").exists()

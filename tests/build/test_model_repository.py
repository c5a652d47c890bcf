"""Builds are complete, are not repeated for nothing, and never leave anything half-made behind."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.tracks import DATA
from postprocess import merge
from preprocess import condition, preprocess
from sifigan_triton.build.engine_builder import EngineMaker
from sifigan_triton.build.model_repository import BuildError, BuildOptions, build
from sifigan_triton.network import export
from sifigan_triton.quality import snr_db
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.model_config import engine_output, window_tensors
from sifigan_triton.repository.runtimes import load_engine
from sifigan_triton.repository.servable import find_servable, read_manifest
from sifigan_triton.repository.tensorrt_plan import Gpu, Machine
from sifigan_triton.voice.folder import load_voice, save_voice
from tests.small_build import BF16, ONNX, OPENVINO, contents, leftovers, logged, openvino_engines
from tests.small_voice import one_thread, random_features, run_generator, small_settings, small_voice


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def refuse_to_export(*arguments: Any) -> None:
    raise AssertionError("nothing has changed, yet the engine is exported again")


@pytest.fixture(scope="module")
def real_build(tmp_path_factory: pytest.TempPathFactory) -> tuple[BuildOptions, list[str], list[Path]]:
    """A build with nothing replaced: options, lines of progress, files written."""
    folder = tmp_path_factory.mktemp("build")
    save_voice(folder / "voice", *small_voice(), "# Card\n")
    options = BuildOptions(folder / "voice", folder / "models", (OPENVINO, ONNX), OPENVINO, 32, 400.0)
    with logged() as lines:
        return options, lines, build(options)


def test_build_writes_a_complete_repository(real_build: tuple[BuildOptions, list[str], list[Path]]) -> None:
    options, _, written = real_build
    files = set(contents(options.output))
    names = ("model.onnx", "model.py", "runtime.py", "sized_engine.py", "loop.py", "manifest.json")
    engines = {f"{kind.model}/1/{name}" for kind in (OPENVINO, ONNX) for name in names}
    onnx_files = {name for name in files if name.endswith("/model.onnx")}
    assert onnx_files == {f"{OPENVINO.model}/1/{name}" for name in ("model.onnx", "16/model.onnx")} | {
        f"{ONNX.model}/1/model.onnx"
    }
    models = ("sifigan", "preprocess", "preprocess-dynamic", "postprocess")
    models += tuple(name for kind in (OPENVINO, ONNX) for name in (kind.model, kind.ensemble))
    assert files >= engines | {f"{model}/config.pbtxt" for model in models}
    assert files >= {"preprocess/1/model.py", "preprocess/1/voice.json", "preprocess/1/preprocess/__init__.py"}
    assert files >= {"postprocess/1/model.py", "postprocess/1/postprocess/merge.py"}
    assert {str(path.relative_to(options.output)) for path in written} == files
    assert files >= {"preprocess-dynamic/1/preprocess/__init__.py", "sifigan/1/README", f"{ONNX.ensemble}/1/README"}
    assert leftovers(options.output) == []


def test_build_says_two_lines_an_engine_and_what_was_written(
    real_build: tuple[BuildOptions, list[str], list[Path]],
) -> None:
    options, lines, written = real_build
    expected = []
    for kind in (OPENVINO, ONNX):
        snr = r"1\d\d\.\d dB SNR against the full-length FP32 generator \(at least 100 dB\)"
        expected += [f"{kind.model}: making the engine \\.\\.\\.", f"{kind.model}: passed the quality gate, {snr}"]
    expected += [f"{options.output}: {len(written)} files written, ensemble sifigan runs {OPENVINO.model}"]
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line


def test_verbose_build_shows_the_plan_and_the_table_of_the_gate(options: BuildOptions) -> None:
    with logged(logging.DEBUG) as lines:
        build(options)
    text = "\n".join(lines)
    for part in ("window 32 frames, f0_floor 400 Hz, halo", "over no halo", "glide from the floor", "snr dB"):
        assert part in text
    assert "noise" not in text  # the glide is of seeded features: it says nothing about the voice


def test_first_steps_and_engines_are_of_one_voice_and_window(
    real_build: tuple[BuildOptions, list[str], list[Path]],
) -> None:
    options = real_build[0]
    for kind, keys in ((OPENVINO, 5), (ONNX, 2)):
        engine, step = (read_manifest(options.output / model / "1") for model in (kind.model, kind.first_step))
        assert len(step) == keys
        assert step.items() <= engine.items()


def test_built_repository_synthesises(real_build: tuple[BuildOptions, list[str], list[Path]]) -> None:
    options = real_build[0]
    voice, generator = load_voice(options.voice)
    settings = replace(small_settings(voice)[0], max_batch_size=options.max_batch_size)
    mcep, bap = random_features(voice, 100)
    f0 = np.full(100, 500.0, np.float32)
    reference = run_generator(generator, condition(f0, mcep, bap, voice))
    for kind in (OPENVINO, ONNX):
        windows = preprocess(f0, mcep, bap, settings if kind.static else replace(settings, dynamic=True))
        tensors = {tensor.name: list(tensor.dims) for tensor in window_tensors(settings, kind.static)}
        samples = engine_output(settings, kind.static).dims[-1]
        engine = load_engine(kind.runtime, options.output / kind.model / "1", kind.precision, tensors, samples)
        waveform = merge(engine.run({name: getattr(windows, name) for name in tensors}), 100 * voice.hop_size)
        assert snr_db(reference, waveform) >= 100.0


def test_second_build_writes_nothing(
    real_build: tuple[BuildOptions, list[str], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    options, before = real_build[0], contents(real_build[0].output)
    monkeypatch.setattr(export, "export_cpu_onnx", refuse_to_export)
    monkeypatch.setattr(export, "export_dynamic_onnx", refuse_to_export)
    with logged() as lines:
        assert build(options) == []
    assert contents(options.output) == before
    assert f"{OPENVINO.model}: up to date" in lines


@pytest.mark.parametrize(
    ("change", "exported"),
    [
        pytest.param({"window": 48}, 2, id="window"),
        pytest.param({"f0_floor": 300.0}, 2, id="floor"),
        pytest.param({"max_batch_size": 64}, 0, id="max-batch"),
        pytest.param({"engines": (OPENVINO, ONNX)}, 1, id="another-engine"),
        pytest.param({"engines": (ONNX,)}, 1, id="other-engine"),
        pytest.param({"bounds": {"snr": 45.0}}, 0, id="bound-of-fp16-only"),
    ],
)
def test_only_what_matters_is_exported_again(
    options: BuildOptions, exports: list[str], change: dict[str, Any], exported: int
) -> None:
    """Each window of an OpenVINO engine is exported on its own."""
    build(options)
    assert len(exports) == 2
    written = build(replace(options, **change))
    assert (written == []) is ("bounds" in change)
    assert len(exports) == 2 + exported


def test_other_weights_are_exported_again(options: BuildOptions, exports: list[str]) -> None:
    build(options)
    voice, generator = small_voice()
    generator.input_conv.weight.mul_(1.5)
    save_voice(options.voice, voice, generator, "# Card\n")
    build(options)
    assert len(set(exports)) == 4
    assert openvino_engines(options.output) == exports[-2:]


@pytest.mark.parametrize("file", ["model.onnx", "16/model.onnx"], ids=["window", "smaller-window"])
@pytest.mark.parametrize("damage", ["removed", "truncated", "altered", "no-manifest"])
def test_damaged_engine_is_built_again(options: BuildOptions, exports: list[str], damage: str, file: str) -> None:
    build(options)
    before = contents(options.output)
    folder = options.output / OPENVINO.model / "1"
    engine = folder / file
    if damage == "removed":
        engine.unlink()
    elif damage == "truncated":
        engine.write_bytes(engine.read_bytes()[:10])
    elif damage == "altered":
        engine.write_bytes(b"E" + engine.read_bytes()[1:])
    else:
        (folder / "manifest.json").unlink()
    build(options)
    assert contents(options.output) == before


def test_foreign_files_stay(options: BuildOptions, exports: list[str]) -> None:
    foreign = {
        "README.md": "mine",
        ".gitkeep": "",
        "another-model/1/model.onnx": "an engine of someone else",
        f"{OPENVINO.model}/1/notes.txt": "beside ours",
        f"{OPENVINO.model}/2/model.onnx": "another version",
        "preprocess/1/preprocess/extra.py": "# beside ours",
    }
    for name, text in foreign.items():
        (options.output / name).parent.mkdir(parents=True, exist_ok=True)
        (options.output / name).write_text(text)
    build(options)
    build(replace(options, window=48))
    for name, text in foreign.items():
        assert (options.output / name).read_text() == text


def test_default_engine_has_to_be_built(options: BuildOptions) -> None:
    message = r"default engine onnx-fp32 is not built, expected one of \['openvino-fp32'\]: add --engine onnx-fp32"
    with pytest.raises(BuildError, match=message):
        build(replace(options, default_engine=ONNX))
    assert not options.output.exists()


@pytest.mark.parametrize(("default", "expected"), [(None, ONNX), (OPENVINO, OPENVINO), (ONNX, ONNX)])
def test_default_engine_is_behind_the_ensemble(
    options: BuildOptions, exports: list[str], default: Any, expected: Any
) -> None:
    build(replace(options, engines=(OPENVINO, ONNX), default_engine=default))
    config = (options.output / "sifigan" / "config.pbtxt").read_text()
    assert [f'model_name: "{kind.model}"' in config for kind in (OPENVINO, ONNX)] == [
        kind is expected for kind in (OPENVINO, ONNX)
    ]


def test_config_without_engine_is_pointed_out(
    options: BuildOptions, exports: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    (options.output / BF16.model).mkdir(parents=True)
    (options.output / BF16.model / "config.pbtxt").write_text("")
    build(options)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{BF16.model} has a config.pbtxt but no engine; a plain tritonserver will not start on this repository "
        f"(`sifigan-triton serve` leaves the model out): build it with --engine openvino-bf16 or remove "
        f"{options.output / BF16.model}"
    ]


def test_engine_of_an_earlier_build_is_pointed_out(
    options: BuildOptions, exports: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    build(replace(options, engines=(OPENVINO, BF16, ONNX), default_engine=None))
    assert not caplog.records
    build(replace(options, engines=(OPENVINO,), default_engine=None, window=48, f0_floor=500.0))
    assert [record.getMessage() for record in caplog.records] == [
        f"{BF16.model} is of an earlier build with another window and f0_floor: build it with --engine openvino-bf16 "
        f"or remove {options.output / BF16.model}"
    ]


def test_an_engine_of_another_voice_is_not_served(options: BuildOptions, exports: list[str], tmp_path: Path) -> None:
    """Voice A with two engines, then voice B with one: the other one must not stand behind B's statistics."""
    build(replace(options, engines=(BF16, OPENVINO)))
    assert find_servable(options.output).left_out == {}
    voice, generator = small_voice()
    save_voice(tmp_path / "b", replace(voice, name="b", sine_amp=0.2), generator, "# Card\n")
    build(replace(options, voice=tmp_path / "b"))
    servable = find_servable(options.output)
    assert servable.left_out.keys() == {BF16.model, BF16.ensemble}
    assert "it was built with voice small" in servable.left_out[BF16.model]
    assert "preprocess in front of it has voice b" in servable.left_out[BF16.model]
    assert "sifigan" in servable.models


def test_engine_is_judged_again_when_what_judges_it_changes(options: BuildOptions, exports: list[str]) -> None:
    half = replace(options, engines=(ENGINES["onnx-fp16"],), gate_data=(DATA / "short.json",))
    build(half)
    for change in ({"bounds": {"snr": 45.0}}, {"gate_data": (DATA / "several.json",)}, {"keep_fp32": ("input",)}):
        count = len(exports)
        build(replace(half, **change))  # type: ignore[arg-type]
        assert len(exports) == count + 1, change
        build(replace(half, **change))  # type: ignore[arg-type]
        assert len(exports) == count + 1, change


def test_plan_of_another_machine_is_out_of_date(
    options: BuildOptions, exports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Path] = []

    def make_plan(self: EngineMaker, kind: Any, path: Path, keep: Any) -> dict[str, str]:
        path.write_bytes(b"plan")
        plans.append(path)
        return {"tensorrt_version": "10.5.0", "gpu_name": "A", "compute_capability": "8.9"}

    monkeypatch.setattr(EngineMaker, "_make_plan", make_plan)
    here = Machine((Gpu("A", "8.9"),), {"tensorrt": "10.5.0"})
    monkeypatch.setattr("sifigan_triton.build.model_repository.read_machine", lambda: here)
    trt = replace(options, engines=(ENGINES["trt-fp32"],))
    build(trt)
    build(trt)
    assert len(plans) == 1
    monkeypatch.setattr(
        "sifigan_triton.build.model_repository.read_machine", lambda: replace(here, versions={"tensorrt": "10.7.0"})
    )
    build(trt)
    assert len(plans) == 2


@pytest.mark.parametrize("module", ["torch", "numpy", "onnx", "openvino"])
def test_another_version_of_what_makes_engines_makes_them_anew(
    options: BuildOptions, exports: list[str], monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    build(options)
    monkeypatch.setattr(f"{module}.__version__", "0.0.1")
    build(options)
    build(options)
    assert len(exports) == 4

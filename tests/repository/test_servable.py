"""One answer to what of a repository can be served: built, whole, of this machine, and of one voice and window."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sifigan_triton.repository import servable as module
from sifigan_triton.repository.servable import ServableError, find_servable, with_steps
from sifigan_triton.repository.tensorrt_plan import Gpu, Machine

GPU = Gpu("NVIDIA H200", "9.0")
MACHINE = Machine((GPU,), {"tensorrt": "10.5.0"})
NO_GPU = Machine((), {})
VOICE_A = {"voice": "a", "voice_sha256": "aaaaaaaa1", "window": 512, "halo": 224, "f0_floor": 70.0}
VOICE_B = {**VOICE_A, "voice": "b", "voice_sha256": "bbbbbbbb2"}
PLAN = {
    "engine": "trt-fp16",
    "tensorrt_library": "tensorrt",
    "tensorrt_version": "10.5.0",
    "gpu_name": GPU.name,
    "compute_capability": GPU.compute_capability,
    "max_batch_size": 16,
}


def steps(*models: str) -> str:
    """Return what is read of an ensemble's config.pbtxt."""
    return "".join(f'  step {{\n    model_name: "{model}"\n  }}\n' for model in models)


def add(repository: Path, name: str, config: str = "", file: str = "", **manifest: Any) -> Path:
    """Add a built model; with a file, an engine whose manifest describes it. Return its version folder."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config, encoding="utf-8")
    if file:
        (version / file).write_bytes(name.encode())
        manifest["engine_sha256"] = hashlib.sha256(name.encode()).hexdigest()
        manifest["smaller_windows"] = {}
    if manifest:
        (version / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return version


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Voice A with an OpenVINO engine behind `sifigan`, a TensorRT plan and a dynamic engine."""
    folder = tmp_path / "models"
    add(folder, "preprocess", **VOICE_A)
    add(folder, "preprocess-dynamic", voice="a", voice_sha256=VOICE_A["voice_sha256"])
    add(folder, "postprocess")
    add(folder, "sifigan-openvino-fp32", file="model.onnx", **VOICE_A)
    add(folder, "sifigan-onnx-fp32", file="model.onnx", voice="a", voice_sha256=VOICE_A["voice_sha256"])
    add(folder, "sifigan-trt-fp16", "max_batch_size: 16\n", "model.plan", **VOICE_A, **PLAN)
    for engine in ("openvino-fp32", "trt-fp16"):
        add(folder, f"sifigan-ensemble-{engine}", steps("preprocess", f"sifigan-{engine}", "postprocess"))
    add(folder, "sifigan-ensemble-onnx-fp32", steps("preprocess-dynamic", "sifigan-onnx-fp32", "postprocess"))
    add(folder, "sifigan", steps("preprocess", "sifigan-openvino-fp32", "postprocess"))
    return folder


def rewrite(version: Path, **changes: Any) -> None:
    """Change a manifest."""
    path = version / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def add_smaller_window(version: Path) -> Path:
    """Add the engine of a smaller window, and that of one more, to a manifest; return the former's folder."""
    hashes = {}
    for frames in ("128", "256"):
        (version / frames).mkdir()
        (version / frames / "model.onnx").write_text(frames)
        hashes[f"{frames}/model.onnx"] = hashlib.sha256(frames.encode()).hexdigest()
    rewrite(version, smaller_windows=hashes)
    return version / "128"


def drop(version: Path, key: str) -> None:
    """Take a key out of a manifest."""
    path = version / "manifest.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != key}))


@pytest.mark.parametrize(
    "text",
    [
        "ensemble_scheduling { step { model_name: 'preprocess' } step { model_name : \"sifigan-trt-fp16\" } }",
        'ensemble_scheduling { step [ { model_name: "preprocess" }, { model_name: "sifigan-trt-fp16" } ] }',
    ],
)
def test_steps_are_seen_however_they_are_written(repository: Path, text: str) -> None:
    (repository / "sifigan" / "config.pbtxt").write_text(f'# model_name: "nobody"\n{text}\n')
    rewrite(repository / "sifigan-trt-fp16" / "1", **VOICE_B)
    with pytest.raises(ServableError, match=r"cannot serve sifigan: its step sifigan-trt-fp16 is left out: .*voice b"):
        find_servable(repository, machine=MACHINE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ensemble_scheduling {}", "it is an ensemble, but no step of it can be read"),
        (steps("sifigan-around"), "it is a step of itself"),
    ],
    ids=["no steps", "a loop"],
)
def test_an_ensemble_that_cannot_run_is_left_out(repository: Path, text: str, reason: str) -> None:
    add(repository, "sifigan-around", text)
    add(repository, ".hidden", text)
    left_out = find_servable(repository, machine=MACHINE).left_out
    assert left_out.keys() == {"sifigan-around"}
    assert left_out["sifigan-around"].startswith(reason)


def test_everything_that_fits_is_served(repository: Path) -> None:
    servable = find_servable(repository, machine=MACHINE)
    assert servable.left_out == {}
    assert set(servable.models) == {path.name for path in repository.iterdir()}


def test_a_folder_of_links_holds_exactly_the_models(repository: Path, tmp_path: Path) -> None:
    (repository / "sifigan-pt-fp32").mkdir()
    (repository / "sifigan-pt-fp32" / "config.pbtxt").write_text("")
    links = find_servable(repository, machine=MACHINE).link(tmp_path / "links")
    assert {path.name for path in links.iterdir()} == {path.name for path in repository.iterdir()} - {"sifigan-pt-fp32"}
    assert (links / "sifigan" / "config.pbtxt").read_text() == (repository / "sifigan" / "config.pbtxt").read_text()


def test_wanted_models_come_with_their_steps(repository: Path) -> None:
    servable = find_servable(repository, ["sifigan-ensemble-onnx-fp32"], machine=MACHINE)
    assert servable.models == (
        "postprocess",
        "preprocess-dynamic",
        "sifigan-ensemble-onnx-fp32",
        "sifigan-onnx-fp32",
    )
    assert servable.first_step("sifigan-ensemble-onnx-fp32") == repository / "preprocess-dynamic" / "1"
    assert with_steps(repository, ["postprocess"]) == {"postprocess"}


Change = Callable[[Path], Any]


@pytest.mark.parametrize(
    ("change", "model", "reason"),
    [
        pytest.param(
            lambda r: rewrite(r / "sifigan-onnx-fp32" / "1", **VOICE_B),
            "sifigan-onnx-fp32",
            r"it was built with voice b \(bbbbbbbb\), but preprocess-dynamic in front of it has voice a \(aaaaaaaa\): "
            "build both with one command",
            id="engine of another voice",
        ),
        pytest.param(
            lambda r: rewrite(r / "sifigan-trt-fp16" / "1", window=256, halo=100),
            "sifigan-trt-fp16",
            "built with window 256, halo 100, but preprocess in front of it has window 512, halo 224",
            id="engine of another window",
        ),
        pytest.param(
            lambda r: (r / "sifigan-trt-fp16" / "1" / "manifest.json").unlink(),
            "sifigan-trt-fp16",
            "sifigan-trt-fp16 has no manifest.json, so that nobody knows which voice it is of: build it again",
            id="no manifest",
        ),
        pytest.param(
            lambda r: (r / "sifigan-onnx-fp32" / "1" / "model.onnx").write_bytes(b"flipped"),
            "sifigan-onnx-fp32",
            "model.onnx is not the file that its manifest describes: build it again",
            id="flipped bits",
        ),
        pytest.param(
            lambda r: (add_smaller_window(r / "sifigan-onnx-fp32" / "1") / "model.onnx").write_bytes(b"flipped"),
            "sifigan-onnx-fp32",
            "^128/model.onnx is not the file that its manifest describes: build it again",
            id="flipped bits of a smaller window",
        ),
        pytest.param(
            lambda r: (add_smaller_window(r / "sifigan-onnx-fp32" / "1") / "model.onnx").unlink(),
            "sifigan-onnx-fp32",
            "^128/model.onnx is missing, which its manifest describes: build it again",
            id="no file of a smaller window",
        ),
        pytest.param(
            lambda r: (r / "sifigan-trt-fp16" / "1" / "model.plan").unlink(),
            "sifigan-trt-fp16",
            "it has a manifest.json but no engine",
            id="no file",
        ),
        pytest.param(
            lambda r: (r / "sifigan-trt-fp16" / "config.pbtxt").write_text("max_batch_size: 128\n"),
            "sifigan-trt-fp16",
            "config.pbtxt allows batches of 128, the plan takes 16",
            id="larger batches than the plan",
        ),
        pytest.param(
            lambda r: (r / "sifigan-onnx-fp32" / "2").mkdir(),
            "sifigan-onnx-fp32",
            "it has the version folders 1, 2, expected 1 alone: remove the others",
            id="another version that Triton would load",
        ),
        pytest.param(
            lambda r: (r / "sifigan-onnx-fp32" / "1" / "manifest.json").write_text("[" * 100_000),
            "sifigan-onnx-fp32",
            "sifigan-onnx-fp32 has no manifest.json",
            id="a manifest that is none",
        ),
        pytest.param(
            lambda r: rewrite(r / "sifigan-trt-fp16" / "1", max_batch_size=None),
            "sifigan-trt-fp16",
            "its files cannot be read: TypeError",
            id="a manifest with another type",
        ),
        pytest.param(
            lambda r: drop(r / "sifigan-onnx-fp32" / "1", "engine_sha256"),
            "sifigan-onnx-fp32",
            "sifigan-onnx-fp32 has no engine_sha256 in its manifest.json",
            id="a manifest without a hash",
        ),
        pytest.param(
            lambda r: (r / "sifigan-onnx-fp32" / "config.pbtxt").write_bytes(b"\xff\xfe"),
            "sifigan-onnx-fp32",
            "its config.pbtxt cannot be read: 'utf-8' codec",
            id="a configuration that is no text",
        ),
        pytest.param(
            lambda r: rewrite(r / "sifigan-trt-fp16" / "1", tensorrt_version="10.7.0"),
            "sifigan-trt-fp16",
            "plan was built with tensorrt 10.7.0, this machine has 10.5.0",
            id="plan of another TensorRT",
        ),
        pytest.param(
            lambda r: (r / "sifigan-trt-fp16" / "config.pbtxt").write_text("instance_group {\n  kind: KIND_GPU\n}\n"),
            "sifigan-trt-fp16",
            None,
            id="GPU",
        ),
    ],
)
def test_what_does_not_fit_is_left_out_with_its_ensemble(
    repository: Path, change: Change, model: str, reason: str | None
) -> None:
    change(repository)
    if reason is None:
        assert find_servable(repository, machine=MACHINE).left_out == {}
        left_out = find_servable(repository, gpu=False, machine=MACHINE).left_out
        reason = "it needs an NVIDIA GPU and there is none"
    else:
        left_out = find_servable(repository, machine=MACHINE).left_out
    around = model.replace("sifigan-", "sifigan-ensemble-")
    assert left_out.keys() == {model, around}
    assert re.search(reason, left_out[model])
    assert left_out[around] == f"its step {model} is left out: {left_out[model]}"


def test_the_start_stops_at_what_sifigan_needs(repository: Path) -> None:
    rewrite(repository / "preprocess" / "1", **VOICE_B)
    with pytest.raises(ServableError, match=r"cannot serve sifigan: its step .*openvino-fp32 is left out: .*voice a"):
        find_servable(repository, machine=MACHINE)
    assert find_servable(repository, ["sifigan-ensemble-onnx-fp32"], machine=MACHINE).models


def test_an_ensemble_around_an_ensemble_falls_with_it(repository: Path) -> None:
    add(repository, "sifigan-around", steps("sifigan-ensemble-trt-fp16"))
    left_out = find_servable(repository, machine=NO_GPU).left_out
    assert left_out["sifigan-trt-fp16"].startswith("plan needs tensorrt 10.5.0, this machine has none")
    assert left_out["sifigan-around"].startswith("its step sifigan-ensemble-trt-fp16 is left out: its step")


def test_unbuilt_and_unknown_models_are_named(repository: Path) -> None:
    (repository / "sifigan-pt-fp32").mkdir()
    (repository / "sifigan-pt-fp32" / "config.pbtxt").write_text("")
    with pytest.raises(ServableError, match=r"cannot serve sifigan-pt-fp32: .* has not been built"):
        find_servable(repository, ["sifigan-pt-fp32"], machine=MACHINE)
    with pytest.raises(ServableError, match="cannot serve nobody: it is not in the repository, which has postprocess,"):
        find_servable(repository, ["nobody"], machine=MACHINE)


def test_no_repository_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(ServableError, match="nowhere is no folder: run `sifigan-triton build`"):
        find_servable(tmp_path / "nowhere")
    with pytest.raises(ServableError, match="cannot serve sifigan: it is not in the repository, which has no models"):
        find_servable(tmp_path)


def test_the_machine_is_looked_at_for_plans_only(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_machine", lambda: NO_GPU)
    assert "sifigan-trt-fp16" in find_servable(repository).left_out
    monkeypatch.setattr(module, "read_machine", lambda: pytest.fail("looked at the machine"))
    for name in ("sifigan-trt-fp16", "sifigan-ensemble-trt-fp16"):
        (repository / name / "config.pbtxt").unlink()
    assert find_servable(repository).left_out == {}


def test_a_gpu_of_the_same_capability_is_a_note(repository: Path) -> None:
    servable = find_servable(repository, machine=Machine((Gpu("NVIDIA H100", "9.0"),), MACHINE.versions))
    assert servable.left_out == {}
    assert servable.notes == (
        "sifigan-trt-fp16: plan was tuned on NVIDIA H200, this machine has NVIDIA H100: it runs, a rebuild here may be "
        "faster",
    )


def test_it_runs_in_a_serving_container(repository: Path, tmp_path: Path) -> None:
    """The files that the image has, an isolated Python, no site packages."""
    root = Path(module.__file__).parents[2]
    modules = ("__init__", "repository/__init__", "repository/servable", "repository/tensorrt_plan")
    for file in (f"{name}.py" for name in (*modules, "repository/voice_names")):
        target = tmp_path / "image" / "sifigan_triton" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((root / "sifigan_triton" / file).read_bytes())
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from sifigan_triton.repository.servable import main; "
        "sys.exit(main())"
    )
    command = [sys.executable, "-I", "-S", "-c", code, tmp_path / "image", "--links", tmp_path / "links", repository]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": ""})
    assert done.returncode == 0, done.stderr
    assert "sifigan-trt-fp16 is left out: plan needs tensorrt 10.5.0, this machine has none" in done.stderr
    assert done.stdout.splitlines() == sorted(path.name for path in (tmp_path / "links").iterdir())
    assert "sifigan" in done.stdout.splitlines()


# Several voices


def add_voice(folder: Path, voice: str) -> None:
    """Add a voice of this name, with an OpenVINO engine."""
    facts = {**VOICE_B, "voice": voice, "voice_sha256": f"{voice}{voice}"}
    add(folder, f"preprocess-{voice}", **facts)
    add(folder, f"postprocess-{voice}")
    engine = f"sifigan-{voice}-openvino-fp32"
    add(folder, engine, file="model.onnx", **facts)
    for ensemble in (f"sifigan-{voice}", f"sifigan-{voice}-ensemble-openvino-fp32"):
        add(folder, ensemble, steps(f"preprocess-{voice}", engine, f"postprocess-{voice}"))


@pytest.fixture
def voices(repository: Path) -> Path:
    """Beside `sifigan` the voices `b` and `deep-c`."""
    for voice in ("b", "deep-c"):
        add_voice(repository, voice)
    return repository


def test_each_voice_has_one_ensemble_that_clients_call(voices: Path) -> None:
    assert find_servable(voices, machine=MACHINE).voices == ("sifigan", "sifigan-b", "sifigan-deep-c")
    assert find_servable(voices, ["sifigan-b"], machine=MACHINE).voices == ("sifigan-b",)
    assert find_servable(voices, ["sifigan-b"], machine=MACHINE).models == (
        "postprocess-b",
        "preprocess-b",
        "sifigan-b",
        "sifigan-b-openvino-fp32",
    )
    assert find_servable(voices, ["sifigan-ensemble-trt-fp16"], machine=MACHINE).voices == ()


@pytest.mark.parametrize("broken", ["", "-b", "-deep-c"], ids=["sifigan", "b", "deep-c"])
@pytest.mark.parametrize("wanted", [(), ("sifigan", "sifigan-b", "sifigan-deep-c")], ids=["all", "wanted"])
def test_a_voice_that_cannot_be_served_keeps_no_other_from_it(
    voices: Path, broken: str, wanted: tuple[str, ...]
) -> None:
    (voices / f"sifigan{broken}-openvino-fp32" / "1" / "model.onnx").write_bytes(b"damaged")
    servable = find_servable(voices, wanted, machine=MACHINE)
    assert {f"sifigan{broken}", *servable.voices} == {"sifigan", "sifigan-b", "sifigan-deep-c"}
    assert len(servable.voices) == 2
    assert (
        f"sifigan{broken}-openvino-fp32 is left out: model.onnx is not the file"
        in servable.left_out[f"sifigan{broken}"]
    )


def test_what_no_ensemble_needs_is_not_loaded(voices: Path) -> None:
    """The steps around an engine that is left out would fill memory for nobody."""
    assert {"preprocess-b", "postprocess-b"} <= {*find_servable(voices, machine=MACHINE).models}
    (voices / "sifigan-b-openvino-fp32" / "1" / "model.onnx").write_bytes(b"damaged")
    servable = find_servable(voices, machine=MACHINE)
    assert {"preprocess-b", "postprocess-b"}.isdisjoint(servable.models)
    assert {"preprocess", "postprocess", "preprocess-deep-c", "postprocess-deep-c"} <= {*servable.models}


def test_no_voice_at_all_stops_the_start_with_the_reason_of_each(voices: Path) -> None:
    for broken in ("", "-b", "-deep-c"):
        (voices / f"sifigan{broken}-openvino-fp32" / "1" / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(ServableError) as raised:
        find_servable(voices, machine=MACHINE)
    for name in ("sifigan", "sifigan-b", "sifigan-deep-c"):
        assert f"cannot serve {name}: its step {name}-openvino-fp32 is left out: model.onnx is not" in str(raised.value)


def test_a_voice_that_nobody_built_is_a_mistake(voices: Path) -> None:
    with pytest.raises(ServableError, match=r"cannot serve sifigan-nobody: it is not in the repository, which has"):
        find_servable(voices, ["sifigan", "sifigan-nobody"], machine=MACHINE)


def test_voices_go_without_one_that_has_no_name(voices: Path) -> None:
    for folder in ("sifigan", "sifigan-openvino-fp32", "postprocess"):
        shutil.rmtree(voices / folder)
    assert find_servable(voices, machine=MACHINE).voices == ("sifigan-b", "sifigan-deep-c")

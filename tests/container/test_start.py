"""The serving container's start-up, with stand-ins for the server and for nvidia-smi."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.container_scripts import DOCKER, fake, run


def add_model(repository: Path, name: str, config: str = "", built: bool = True) -> None:
    """Add a model of one voice to a repository."""
    (repository / name / ("1" if built else "")).mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config, encoding="utf-8")
    if built:
        (repository / name / "1" / "model.onnx").touch()
        facts = {
            "voice": "a",
            "voice_sha256": "a",
            "engine_sha256": hashlib.sha256().hexdigest(),
            "smaller_windows": {},
        }
        (repository / name / "1" / "manifest.json").write_text(json.dumps(facts))


def ensemble(*steps: str) -> str:
    """Return what is read of an ensemble's config.pbtxt."""
    return "".join(f'  step {{\n    model_name: "{step}"\n  }}\n' for step in steps)


GPU_GROUP = "instance_group {\n  kind: KIND_GPU\n  count: 1\n}\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An engine for the CPU behind `sifigan`, one for the GPU, one that is not built, and their ensembles."""
    folder = tmp_path / "baked"
    add_model(folder, "preprocess")
    add_model(folder, "postprocess")
    add_model(folder, "sifigan-a")
    add_model(folder, "sifigan-trt-fp16", GPU_GROUP)
    add_model(folder, "sifigan-b", built=False)
    add_model(folder, "sifigan", ensemble("preprocess", "sifigan-a", "postprocess"))
    add_model(folder, "sifigan-ensemble-trt-fp16", ensemble("preprocess", "sifigan-trt-fp16", "postprocess"))
    add_model(folder, "sifigan-ensemble-b", ensemble("preprocess", "sifigan-b", "postprocess"))
    add_model(folder, "sifigan-around-b", ensemble("sifigan-ensemble-b"))
    return folder


def start(
    baked: Path, tmp_path: Path, *arguments: str, gpu: bool = False, program: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the entry point with a server that prints its arguments, on a machine with or without a GPU."""
    fake(tmp_path / "bin" / "nvidia-smi", f"exit {0 if gpu else 9}\n")
    server = program or fake(tmp_path / "bin" / "tritonserver")
    folders = {"SIFIGAN_BAKED": str(baked), "SIFIGAN_BUILT": str(tmp_path / "built")}
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    return run(DOCKER / "entrypoint.sh", *arguments, PATH=path, TRITONSERVER=str(server), **folders, **environment)


def loaded(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Return the models in the folder that a server was given, all of which it loads and none else."""
    assert done.returncode == 0, done.stderr
    flags = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert flags["--model-control-mode"] == "none"
    return {path.name for path in Path(flags["--model-repository"]).iterdir()}


def test_start_loads_what_can_be_loaded(repository: Path, tmp_path: Path) -> None:
    done = start(repository, tmp_path, "--log-verbose=1")
    assert loaded(done) == {"preprocess", "sifigan-a", "postprocess", "sifigan"}
    assert f"serving {repository}: " in done.stderr
    assert done.stdout.splitlines()[-1] == "--log-verbose=1"
    for reason in (
        "sifigan-b is left out: it has a config.pbtxt but has not been built",
        "sifigan-trt-fp16 is left out: it needs an NVIDIA GPU and there is none",
        "sifigan-ensemble-b is left out: its step sifigan-b is left out: it has a config.pbtxt but has not been built",
        "sifigan-around-b is left out: its step sifigan-ensemble-b is left out",
    ):
        assert reason in done.stderr


def test_start_on_a_gpu_loads_the_gpu_engines(repository: Path, tmp_path: Path) -> None:
    done = start(repository, tmp_path, gpu=True)
    assert loaded(done) >= {"sifigan-trt-fp16", "sifigan-ensemble-trt-fp16"}
    assert "NVIDIA GPU" not in done.stderr


def test_start_prefers_what_the_build_service_made(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository, tmp_path / "built")
    assert f"serving {tmp_path / 'built'}: " in start(repository, tmp_path).stderr


def test_start_loads_wanted_models_only(repository: Path, tmp_path: Path) -> None:
    done = start(repository, tmp_path, SIFIGAN_MODELS="sifigan-a")
    assert loaded(done) == {"sifigan-a"}


def test_shared_memory_is_allowed_where_the_server_has_to_be_told(repository: Path, tmp_path: Path) -> None:
    """As of release 26.04; `tritonserver --help` exits with 1."""
    text = '[[ $1 == --help ]] && { echo "  --allow-client-shm <boolean>"; exit 1; }\nprintf "%s\\n" "$@"\n'
    server = fake(tmp_path / "bin" / "newer", text)
    done = start(repository, tmp_path, SIFIGAN_CLIENT_SHARED_MEMORY="yes", program=server)
    assert "--allow-client-shm=true" in done.stdout.splitlines()
    assert "--allow-client-shm" not in start(repository, tmp_path, program=server).stdout


@pytest.mark.parametrize(
    ("environment", "closed"),
    [
        ({}, "model-repository,trace,logging,shared-memory"),
        ({"SIFIGAN_CLIENT_SHARED_MEMORY": "yes"}, "model-repository,trace,logging"),
    ],
    ids=["default", "shared memory"],
)
def test_start_closes_the_doors_with_a_key_of_its_own(
    repository: Path, tmp_path: Path, environment: dict[str, str], closed: str
) -> None:
    rules = set()
    for _ in range(2):
        said = start(repository, tmp_path, **environment).stdout
        (http_rule,), (grpc_rule,) = (
            [line.partition("=")[2] for line in said.splitlines() if line.startswith(flag)]
            for flag in ("--http-restricted-api", "--grpc-restricted-protocol")
        )
        assert http_rule == grpc_rule
        groups, _, key = http_rule.partition(":closed=")
        assert groups == closed
        assert len(key) == 32
        rules.add(http_rule)
    assert len(rules) == 2


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SIFIGAN_GPU": "yes"}, "nvidia-smi finds no GPU: run the container with --gpus"),
        ({"SIFIGAN_MODELS": "sifigan-trt-fp16"}, "cannot serve sifigan-trt-fp16: it needs an NVIDIA GPU"),
        (
            {"SIFIGAN_MODELS": "nobody"},
            "cannot serve nobody: it is not in the repository, which has postprocess, preprocess, sifigan",
        ),
    ],
    ids=["no GPU", "no GPU for a model", "unknown model"],
)
def test_start_refused(repository: Path, tmp_path: Path, environment: dict[str, str], message: str) -> None:
    done = start(repository, tmp_path, **environment)
    assert done.returncode == 1
    assert done.stdout == ""
    assert message in done.stderr


def test_start_refused_on_an_empty_repository(tmp_path: Path) -> None:
    (tmp_path / "baked").mkdir()
    done = start(tmp_path / "baked", tmp_path)
    assert done.returncode == 1
    assert "cannot serve sifigan: it is not in the repository, which has no models" in done.stderr


def test_a_plan_of_another_machine_is_left_out_or_stops_the_start(repository: Path, tmp_path: Path) -> None:
    manifest = repository / "sifigan-trt-fp16" / "1" / "manifest.json"
    facts = json.loads(manifest.read_text()) | {"engine": "trt-fp16", "tensorrt_version": "1.2.3"}
    manifest.write_text(json.dumps(facts))
    done = start(repository, tmp_path, gpu=True)
    assert "sifigan-trt-fp16" not in loaded(done)
    assert "sifigan-trt-fp16 is left out: plan needs tensorrt 1.2.3" in done.stderr
    config = repository / "sifigan" / "config.pbtxt"
    config.write_text(config.read_text().replace("sifigan-a", "sifigan-trt-fp16"))
    done = start(repository, tmp_path, gpu=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "cannot serve sifigan: its step sifigan-trt-fp16 is left out: plan needs tensorrt 1.2.3" in done.stderr

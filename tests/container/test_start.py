"""What the serving container chooses, refuses and says when it starts, with stand-ins for Triton and nvidia-smi."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sifigan_triton.server.container import read_options
from sifigan_triton.server.service import ServiceOptions
from tests.container_scripts import Image, fake


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
SERVER = """
[[ $1 == --help ]] && { echo "${HELP:-}"; exit 1; }
printf "%s\\n" "$@"
for word in "$@"; do [[ $word == --model-repository=* ]] && ls "${word#*=}" | sed "s/^/loads /"; done
exec sleep "${SLEEP:-0}"
"""
"""Prints its arguments and what it would load, then ends."""


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


@pytest.fixture
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image with a stand-in for the server."""
    image = Image(tmp_path_factory.mktemp("image"))
    fake(image.triton / "bin" / "tritonserver", SERVER)
    (image.triton / "backends").mkdir()
    return image


def machine(tmp_path: Path, gpu: bool) -> None:
    """Put an nvidia-smi on the PATH that finds a GPU or none."""
    fake(tmp_path / "bin" / "nvidia-smi", 'echo "0, GPU-1, NVIDIA A10, 8.6"\n' if gpu else "exit 9\n")


@pytest.fixture(autouse=True)
def machine_without_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine(tmp_path, gpu=False)


def folders(tmp_path: Path) -> dict[str, str]:
    return {"SIFIGAN_BAKED": str(tmp_path / "baked"), "SIFIGAN_BUILT": str(tmp_path / "built")}


def chosen(tmp_path: Path, *arguments: str, **environment: str) -> ServiceOptions:
    return read_options(folders(tmp_path) | environment, arguments)


def launch(image: Image, tmp_path: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start the entry point, on free ports of this machine."""
    ports = dict.fromkeys(("HTTP_PORT", "GRPC_PORT", "METRICS_PORT"), "0")
    settings = {"SIFIGAN_HOST": "127.0.0.1", "TMPDIR": str(tmp_path), **ports, **folders(tmp_path), **environment}
    return subprocess.Popen(
        image.command(*arguments),
        env=os.environ | image.environment | {"PATH": f"{tmp_path / 'bin'}:{image.environment['PATH']}"} | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start(image: Image, tmp_path: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run the entry point until it ends; return its exit status and what it said on standard error."""
    process = launch(image, tmp_path, *arguments, **environment)
    output, said = process.communicate(timeout=60)
    assert output == ""
    return process.returncode, said


# Choices


def test_start_loads_what_can_be_loaded(repository: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    options = chosen(tmp_path)
    assert set(options.models) == {"preprocess", "sifigan-a", "postprocess", "sifigan"}
    assert options.probed == ("sifigan",)
    assert f"serving {repository}: " in caplog.text
    for reason in (
        "sifigan-b is left out: it has a config.pbtxt but has not been built",
        "sifigan-trt-fp16 is left out: it needs an NVIDIA GPU and there is none",
        "sifigan-ensemble-b is left out: its step sifigan-b is left out: it has a config.pbtxt but has not been built",
        "sifigan-around-b is left out: its step sifigan-ensemble-b is left out",
    ):
        assert reason in caplog.text


@pytest.mark.usefixtures("repository")
def test_start_on_a_gpu_loads_the_gpu_engines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine(tmp_path, gpu=True)
    for environment in ({}, {"SIFIGAN_GPU": "yes"}):
        assert {*chosen(tmp_path, **environment).models} >= {"sifigan-trt-fp16", "sifigan-ensemble-trt-fp16"}
    assert "NVIDIA GPU" not in caplog.text
    assert "sifigan-trt-fp16" not in chosen(tmp_path, SIFIGAN_GPU="no").models


def test_start_prefers_what_the_build_service_made(repository: Path, tmp_path: Path) -> None:
    assert chosen(tmp_path).model_repository == repository
    shutil.copytree(repository, tmp_path / "built")
    assert chosen(tmp_path).model_repository == tmp_path / "built"


@pytest.mark.usefixtures("repository")
def test_start_loads_wanted_models_only(tmp_path: Path) -> None:
    options = chosen(tmp_path, SIFIGAN_MODELS="sifigan-a")
    assert (options.models, options.probed) == (("sifigan-a",), ())
    machine(tmp_path, gpu=True)
    options = chosen(tmp_path, SIFIGAN_MODELS="sifigan-ensemble-trt-fp16 sifigan-a")
    assert options.probed == ("sifigan-ensemble-trt-fp16",)


@pytest.mark.usefixtures("repository")
def test_settings(tmp_path: Path) -> None:
    usual = chosen(tmp_path, SIFIGAN_GRACE="", HTTP_PORT=" ")
    assert (usual.host, usual.ports.http, usual.ports.grpc, usual.ports.metrics) == ("0.0.0.0", 8000, 8001, 8002)
    assert (usual.limits.in_flight, usual.limits.request_bytes, usual.grace_s) == (8, 64 * 2**20, 30.0)
    assert not usual.client_shared_memory
    given = {"SIFIGAN_HOST": "127.0.0.1", "HTTP_PORT": "1", "GRPC_PORT": "2", "METRICS_PORT": "3"}
    given |= {"SIFIGAN_MAX_IN_FLIGHT": "4", "SIFIGAN_MAX_REQUEST_MB": "5", "SIFIGAN_GRACE": "0.5"}
    said = chosen(tmp_path, **given, SIFIGAN_CLIENT_SHARED_MEMORY="yes")
    assert (said.host, said.ports.http, said.ports.grpc, said.ports.metrics) == ("127.0.0.1", 1, 2, 3)
    assert (said.limits.in_flight, said.limits.request_bytes, said.grace_s) == (4, 5 * 2**20, 0.5)
    assert said.client_shared_memory


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SIFIGAN_GRACE", "nan", "a number from 0 to 86400"),
        ("SIFIGAN_GRACE", "soon", "a number from 0 to 86400"),
        ("SIFIGAN_MAX_IN_FLIGHT", "0", "a number from 1 to 10000"),
        ("SIFIGAN_MAX_REQUEST_MB", "1.5", "a whole number from 1 to 256"),
        ("HTTP_PORT", "tcp://10.0.0.1:80", "a number from 0 to 65535"),
        ("SIFIGAN_GPU", "ja", "yes or no"),
        ("SIFIGAN_CLIENT_SHARED_MEMORY", "true", "yes or no"),
    ],
)
@pytest.mark.usefixtures("repository")
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is .*expected {expected}"):
        chosen(tmp_path, **{name: value})


# Refusals


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SIFIGAN_GPU": "yes"}, "nvidia-smi finds no GPU: run the container with --gpus"),
        ({"SIFIGAN_MODELS": "sifigan-trt-fp16"}, "cannot serve sifigan-trt-fp16: it needs an NVIDIA GPU"),
        (
            {"SIFIGAN_MODELS": "nobody"},
            "cannot serve nobody: it is not in the repository, which has postprocess, preprocess, sifigan",
        ),
        ({"SIFIGAN_GRACE": "-1"}, "SIFIGAN_GRACE is '-1', expected"),
    ],
    ids=["no GPU", "no GPU for a model", "unknown model", "wrong setting"],
)
@pytest.mark.usefixtures("repository")
def test_start_refused(image: Image, tmp_path: Path, environment: dict[str, str], message: str) -> None:
    status, said = start(image, tmp_path, **environment)
    assert status == 1
    assert message in said.splitlines()[-1]
    assert "--model-repository" not in said  # the server was not started


def test_start_refused_on_an_empty_repository(image: Image, tmp_path: Path) -> None:
    (tmp_path / "baked").mkdir()
    status, said = start(image, tmp_path)
    assert status == 1
    assert "cannot serve sifigan: it is not in the repository, which has no models" in said


def test_a_plan_of_another_machine_is_left_out_or_stops_the_start(
    repository: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = repository / "sifigan-trt-fp16" / "1" / "manifest.json"
    facts = json.loads(manifest.read_text()) | {"engine": "trt-fp16", "tensorrt_version": "1.2.3"}
    manifest.write_text(json.dumps(facts))
    machine(tmp_path, gpu=True)
    assert "sifigan-trt-fp16" not in chosen(tmp_path).models
    assert "sifigan-trt-fp16 is left out: plan needs tensorrt 1.2.3" in caplog.text
    config = repository / "sifigan" / "config.pbtxt"
    config.write_text(config.read_text().replace("sifigan-a", "sifigan-trt-fp16"))
    with pytest.raises(
        RuntimeError, match=r"cannot serve sifigan: its step sifigan-trt-fp16 is left out: plan needs tensorrt 1\.2\.3"
    ):
        chosen(tmp_path)


# What the server is told


def rules(said: str) -> tuple[str, str]:
    """Return the groups that a start closed, and the key."""
    http_rule, grpc_rule = (
        next(line for line in said.splitlines() if line.startswith(flag)).partition("=")[2]
        for flag in ("--http-restricted-api", "--grpc-restricted-protocol")
    )
    assert http_rule == grpc_rule
    groups, _, key = http_rule.partition(":closed=")
    return groups, key


@pytest.mark.usefixtures("repository")
def test_start_closes_the_doors_with_a_key_of_its_own(image: Image, tmp_path: Path) -> None:
    said = [start(image, tmp_path, "--log-verbose=1")[1] for _ in range(2)]
    assert {rules(text)[0] for text in said} == {"model-repository,trace,logging,shared-memory"}
    keys = {rules(text)[1] for text in said}
    assert [len(key) for key in keys] == [32, 32]
    lines = said[0].splitlines()
    assert {line.removeprefix("loads ") for line in lines if line.startswith("loads ")} == {
        "preprocess",
        "sifigan-a",
        "postprocess",
        "sifigan",
    }
    assert {"--model-control-mode=none", "--disable-auto-complete-config", "--http-address=127.0.0.1"} <= {*lines}
    assert f"--backend-directory={image.triton / 'backends'}" in lines
    assert lines[lines.index("--log-verbose=1") + 1].startswith("loads ")  # the last argument
    assert not any(line.startswith(("--allow-client-shm", "--http-max-input-size")) for line in lines)
    assert "did not start (exit status 0)" in said[0]


@pytest.mark.usefixtures("repository")
def test_what_later_releases_have_to_be_told(image: Image, tmp_path: Path) -> None:
    """As of release 26.04 shared memory is off by default; `tritonserver --help` exits with 1."""
    known = {"HELP": "  --allow-client-shm <boolean>  --http-max-input-size <integer>"}
    _, said = start(image, tmp_path, **known, SIFIGAN_CLIENT_SHARED_MEMORY="yes", SIFIGAN_HOST="0.0.0.0")
    assert "clients may register shared memory: whoever reaches the ports can take over the server" in said
    assert {"--allow-client-shm=true", "--http-max-input-size=2147483647"} <= {*said.splitlines()}
    assert rules(said)[0] == "model-repository,trace,logging"
    assert "--allow-client-shm" not in start(image, tmp_path, **known)[1]


@pytest.mark.usefixtures("repository")
def test_stopped_while_it_starts(image: Image, tmp_path: Path) -> None:
    process = launch(image, tmp_path, SLEEP="60")
    assert process.stderr is not None
    while "loads sifigan-a" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert time.monotonic() - began < 5.0
    assert "stopped: the server was stopped while it started" in said


@pytest.mark.usefixtures("repository")
def test_stopped_while_it_chooses(image: Image, tmp_path: Path) -> None:
    fake(tmp_path / "bin" / "nvidia-smi", f"touch {tmp_path / 'asked'}; exec sleep 60\n")
    process = launch(image, tmp_path, SIFIGAN_GPU="yes")
    while not (tmp_path / "asked").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=10)
    assert (process.returncode, said) == (0, "")

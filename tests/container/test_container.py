"""Dockerfile, compose.yaml and what goes into the image: linters, and whether they fit each other and the project.

No container engine is used: the image itself is not built here.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import shutil
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import openvino
import pytest
import yaml

from sifigan_triton import __version__
from tests.container_scripts import (
    CPU_DOCKERFILE,
    DEFAULTS,
    DOCKER,
    DOCKERFILE,
    DOCKERFILES,
    ROOT,
    SCRIPTS,
    SERVE_STAGE,
    Image,
    copies,
    run,
)

COMPOSE_TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVERS = ("serve-cpu", "serve-gpu")
EACH_DOCKERFILE = pytest.mark.parametrize("dockerfile", DOCKERFILES.values(), ids=DOCKERFILES)


def lint(name: str, *arguments: str | Path) -> None:
    """Run a linter that is among the packages that the tests run with."""
    program = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program, f"{name} is missing: requirements.lock has it, `make setup` installs it"
    done = run(program, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


# Linters


def test_dockerfile_lint() -> None:
    lint("hadolint", "--failure-threshold", "style", ROOT / "Dockerfile", DOCKER / "cpu.Dockerfile")


def test_scripts_lint() -> None:
    lint("shellcheck", "--enable=all", *SCRIPTS)


def test_compose_follows_its_schema() -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml")


def test_what_the_image_runs_needs_no_newer_python_than_it_has() -> None:
    """Release 26.08 has Python 3.12, 24.10 has 3.10; the project itself needs 3.11."""
    staged = ROOT / "sifigan_triton" / "repository" / "adapters"
    adapters = [staged / f"{name}_model.py" for name in ("preprocess", "postprocess")]
    assert all(path.is_file() for path in adapters)
    copied = [ROOT / path for path, _ in copies(SERVE_STAGE) if "sifigan_triton" in path or path.endswith(".py")]
    files = [ROOT / "preprocess", ROOT / "postprocess", *adapters, *copied]
    lint("vermin", "--target=3.10-", "--violations", "--no-tips", *files)


# Dockerfile


def in_context(path: str) -> bool:
    """Tell whether .dockerignore lets a path into the build context (its last matching line decides)."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern = line.lstrip("!").replace("**/", "")
            parents = itertools.accumulate(Path(path).parts, lambda a, b: f"{a}/{b}")
            if any(fnmatch(name, pattern) for part in parents for name in (part, Path(part).name)):
                kept = line.startswith("!")
    return kept


@pytest.mark.parametrize("path", sorted({source for each in DOCKERFILES.values() for source, _ in copies(each)}))
def test_copied_file_is_there(path: str) -> None:
    assert (ROOT / path).exists()
    assert in_context(path)


@pytest.mark.parametrize(
    "path", ["build_engines.py", "preprocess/f0.py", "sifigan_triton/build/model_repository.py", "voices/demo"]
)
def test_context_has_what_a_build_reads(path: str) -> None:
    assert in_context(path)


@pytest.mark.parametrize("path", [".git", ".env", ".venv", "model_repository", "out", "preprocess/__pycache__/f0.pyc"])
def test_context_leaves_the_rest_out(path: str) -> None:
    assert not in_context(path)


@EACH_DOCKERFILE
def test_serving_stage_is_the_last_and_runs_as_the_images_user(dockerfile: str) -> None:
    stages = re.findall(r"^FROM \S+(?: AS (\S+))?$", dockerfile, re.MULTILINE)
    assert stages[-1] == "serve"
    users = re.findall(r"^USER (.*)$", dockerfile.split(" AS serve")[1], re.MULTILINE)
    assert users == ["1000:1000"]  # a number: Kubernetes cannot tell that a name is not root


def test_both_images_have_the_same_of_the_project() -> None:
    nvidia, cpu = ({pair for pair in copies(each.split(" AS serve")[1])} for each in DOCKERFILES.values())
    removal = {(f"docker/{name}", "/opt/sifigan/docker/") for name in ("remove_compilers.sh",)}
    settings = {("docker/openvino-plugins.xml", "/opt/tritonserver/backends/openvino/plugins.xml")}
    assert nvidia - removal - settings == cpu


@EACH_DOCKERFILE
def test_labels(dockerfile: str) -> None:
    """What the OCI calls its own; the source revision is an argument, as only the builder knows it."""
    text = dockerfile.partition("\nLABEL ")[2].replace("\\\n", " ")
    labels = dict(re.findall(r'org\.opencontainers\.image\.([a-z.]+)="([^"]*)"', text))
    assert {"title", "description", "licenses", "version", "revision", "base.name"} == set(labels)
    assert labels["version"] == "${VERSION}"
    assert re.findall(r"^ARG VERSION=(.*)$", dockerfile, re.MULTILINE) == [__version__]
    assert labels["revision"] == "${REVISION}"
    assert "ARG REVISION=" in dockerfile.splitlines()


@EACH_DOCKERFILE
def test_bases_are_pinned_and_can_be_by_digest(dockerfile: str) -> None:
    bases = set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) - set(
        re.findall(r" AS (\S+)$", dockerfile, re.MULTILINE)
    )
    assert bases == {"${BASE}"}
    (base,) = re.findall(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)
    assert re.search(r":(bookworm-slim|\$\{TRITON_VERSION\}-py3)$", base)


@EACH_DOCKERFILE
def test_health_check_is_in_the_image(dockerfile: str, tmp_path: Path) -> None:
    """It asks the port that the container was told to listen on."""
    image = Image(tmp_path)
    (command,) = re.findall(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", dockerfile, re.MULTILINE)
    words = [word.replace("/opt/", f"{tmp_path}/") for word in json.loads(command)]
    for port, asked in ((None, 8000), ("1", 1)):
        done = run(*words, **image.environment, **({} if port is None else {"HTTP_PORT": port}))
        assert done.stdout.startswith("unhealthy after ")
        assert f"localhost:{asked}/" in done.stdout


@EACH_DOCKERFILE
def test_entry_point_is_in_the_image(dockerfile: str) -> None:
    """Behind tini, which collects ended processes whatever starts the container."""
    stage = dockerfile.split(" AS serve")[1]
    (command,) = re.findall(r"^ENTRYPOINT (\[.*\])$", stage, re.MULTILINE)
    words = [word for word in json.loads(command) if word != "/opt/nvidia/nvidia_entrypoint.sh"]
    assert words == ["tini", "-s", "--", "python3", *Image.command()[2:]]
    assert re.search(r"apt-get install --yes --no-install-recommends .*\btini\b", dockerfile)
    assert dict(re.findall(r"\b(PYTHONPATH)=(\S+)", stage)) == {"PYTHONPATH": "/opt/sifigan"}


def test_envoy_and_obstore_are_those_of_the_lock() -> None:
    """What the Dockerfile copies is where the package has it, which the toolchain installs."""
    packages = Path(importlib.util.find_spec("envoy").origin).parents[4]  # type: ignore[union-attr, arg-type]
    copied = re.findall(r"^COPY --from=toolchain /opt/venv/(\S+) (\S+)$", SERVE_STAGE, re.MULTILINE)
    assert [target for _, target in copied] == ["/usr/local/bin/", "/usr/local/share/envoy/", "/opt/sifigan/obstore"]
    for source, target in copied:
        (file,) = packages.glob(source)
        assert (file / "_obstore.abi3.so" if target.endswith("obstore") else file).is_file()


def test_versions_agree() -> None:
    defaults = dict(re.findall(r"^ARG (\w+)=(\S*)$", DOCKERFILE, re.MULTILINE))
    assert {key: DEFAULTS[key] for key in ("TRITON_VERSION", "TENSORRT_BINDINGS", "VOICE")} == {
        key: defaults[key] for key in ("TRITON_VERSION", "TENSORRT_BINDINGS", "VOICE")
    }
    cpu = dict(re.findall(r"^ARG (\w+)=(\S*)$", CPU_DOCKERFILE, re.MULTILINE))
    assert (cpu["ENGINES"], cpu["VOICE"]) == (DEFAULTS["CPU_ENGINES"], DEFAULTS["VOICE"])
    assert [cpu[key] == defaults[key] for key in ("UV_VERSION", "PYTHON_VERSION", "VERSION")] == [True] * 3
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert f"uv=={defaults['UV_VERSION']}" in lock
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"].startswith(f">={defaults['PYTHON_VERSION']}")


def test_openvino_reads_its_settings(tmp_path: Path) -> None:
    """The image's OpenVINO may be older; 2024.4.0 was tried by hand."""
    plugin = Path(openvino.__file__).parent / "libs" / "libopenvino_intel_cpu_plugin.so"
    settings = (DOCKER / "openvino-plugins.xml").read_text(encoding="utf-8").replace(plugin.name, str(plugin))
    (tmp_path / "right.xml").write_text(settings, encoding="utf-8")
    (tmp_path / "wrong.xml").write_text(settings.replace('"f32"', '"f33"'), encoding="utf-8")
    core = openvino.Core(str(tmp_path / "right.xml"))
    assert core.get_property("CPU", "INFERENCE_PRECISION_HINT") == openvino.Type.f32
    with pytest.raises(RuntimeError, match="Wrong value f33 for property key INFERENCE_PRECISION_HINT"):
        openvino.Core(str(tmp_path / "wrong.xml")).get_property("CPU", "INFERENCE_PRECISION_HINT")


# compose.yaml


def settled(value: Any, environment: dict[str, str]) -> Any:
    """Return a part of compose.yaml with its variables replaced."""
    if isinstance(value, dict):
        return {key: settled(part, environment) for key, part in value.items()}
    if isinstance(value, list):
        return [settled(part, environment) for part in value]
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda m: environment.get(m[1]) or m[2] or "", value)
    return value


def services(profile: str) -> dict[str, Any]:
    """Return the services that `docker compose up` starts in a profile."""
    every = settled(COMPOSE["services"], DEFAULTS)
    return {name: service for name, service in every.items() if profile in service.get("profiles", [profile])}


def test_up_alone_serves_on_the_cpu() -> None:
    assert list(services(DEFAULTS["COMPOSE_PROFILES"])) == ["serve-cpu"]


def test_gpu_profile_builds_then_serves() -> None:
    started = services("gpu")
    assert set(started) == {"serve-gpu", "build"}
    assert started["serve-gpu"]["depends_on"] == {"build": {"condition": "service_completed_successfully"}}
    for service in started.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]


def test_build_writes_what_the_gpu_serves() -> None:
    started = services("gpu")
    assert started["build"]["volumes"] == ["models:/models"]
    assert started["serve-gpu"]["volumes"] == ["models:/models:ro"]
    assert "/models/repository}" in (DOCKER / "build_models.sh").read_text(encoding="utf-8")
    assert '"/models/repository"' in (ROOT / "sifigan_triton/server/container.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SERVERS)
def test_docker_waits_longer_than_the_server_takes_to_stop(name: str) -> None:
    """The grace, then 15 s for Triton and 5 s for the proxy."""
    service = settled(COMPOSE["services"][name], DEFAULTS)
    assert int(service["stop_grace_period"].removesuffix("s")) > int(service["environment"]["SIFIGAN_GRACE"]) + 20


@pytest.mark.parametrize("name", SERVERS)
def test_server_is_confined(name: str) -> None:
    service = settled(COMPOSE["services"][name], DEFAULTS)
    assert service["ports"] == ["127.0.0.1:8000:8000", "127.0.0.1:8001:8001", "127.0.0.1:8002:8002"]
    assert service["shm_size"] == "1gb"  # 64 MB, the default, is too little for long utterances
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["build"]["target"] == "serve"


def test_every_variable_has_a_value() -> None:
    names = set(re.findall(r"\$\{(\w+)\}", COMPOSE_TEXT))
    assert names <= set(DEFAULTS)


@pytest.mark.parametrize("name", ["CPU_ENGINES", "GPU_ENGINES", "VOICE", "COMPOSE_PROFILES"])
def test_the_reference_has_the_defaults(name: str) -> None:
    reference = (ROOT / "docs" / "reference" / "server.md").read_text(encoding="utf-8")
    assert f"| `{name}` | `{DEFAULTS[name]}` |" in reference


def test_build_arguments_are_those_of_the_dockerfile() -> None:
    builds = {name: service["build"] for name, service in COMPOSE["services"].items() if "build" in service}
    assert {name for name, build in builds.items() if "dockerfile" in build} == {"serve-cpu"}
    assert builds["serve-cpu"]["dockerfile"] == "docker/cpu.Dockerfile"
    for name, build in builds.items():
        text = CPU_DOCKERFILE if name == "serve-cpu" else DOCKERFILE
        assert set(build["args"]) <= set(re.findall(r"^ARG (\w+)", text, re.MULTILINE))


def test_perf_mounts_and_runs_what_is_there() -> None:
    perf = settled(COMPOSE["services"]["perf"], DEFAULTS)
    mounts = dict(reversed(volume.removesuffix(":ro").split(":")) for volume in perf["volumes"])
    folder, name = perf["entrypoint"][0].rsplit("/", 1)
    assert os.access(ROOT / mounts[folder] / name, os.X_OK)
    for default in ("short", "frames-627"):
        assert (ROOT / mounts["/data"] / f"{default}.json").is_file()

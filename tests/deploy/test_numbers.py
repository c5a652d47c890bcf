"""The chart's numbers are the code's: ports, variables, limits, memory, times of probes."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from preprocess import Settings
from sifigan_triton import __version__
from sifigan_triton.build.model_repository import BuildOptions
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.model_plan import plan_models
from sifigan_triton.server import health
from sifigan_triton.server.container import read_options
from sifigan_triton.server.front import Limits
from sifigan_triton.server.front.config import HEAP_BYTES, LONG_BYTES
from sifigan_triton.server.triton_server import SHM_BYTES
from sifigan_triton.voice.folder import load_voice
from tests.conftest import DEMO
from tests.deploy.chart import CHART, VALUES, Manifest, find, manifests, pods, render

MIB = 2**20
SHM_A_FRAME = 2700
"""Bytes of a request in shared memory, all steps (docs/reference/server.md)."""


@pytest.fixture(scope="module")
def settings() -> Settings:
    """The default build of the demonstration voice."""
    defaults = {name: field.default for name, field in BuildOptions.__dataclass_fields__.items()}
    return EngineSpec(*load_voice(DEMO), defaults["window"], defaults["f0_floor"], defaults["max_batch_size"]).settings


def values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return loaded


def server(found: tuple[Manifest, ...] | list[Manifest]) -> tuple[Manifest, Manifest]:
    """Return the pod of the servers and its container."""
    (pod,) = (pod for _, labels, pod in pods(tuple(found)) if labels["app.kubernetes.io/component"] == "server")
    return pod, pod["containers"][0]


def test_versions() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_the_schema_knows_the_engines() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    pattern = re.compile(schema["properties"]["engine"]["pattern"])
    assert all(pattern.search(name) for name in ENGINES)
    assert values()["engine"] in ENGINES


def test_options_reach_the_server(small_repository: Path) -> None:
    """The container's own code reads the rendered variables, and finds in them what the values say."""
    said = {"inFlight": 3, "requestMiB": 5, "graceSeconds": 7}
    for engine in ("", "gpu"):
        found = render(VALUES.get(engine, {}) | {"limits": said, "models": ["sifigan", "sifigan-tensors"]})
        variables = find(found, "ConfigMap", "voice-sifigan-triton-server")["data"]
        if engine:
            assert variables.pop("SIFIGAN_GPU") == "yes"
            assert variables.pop("SIFIGAN_BUILT") == variables.pop("SIFIGAN_BAKED") == "/models/repository"
        options = read_options(variables | {"SIFIGAN_BAKED": str(small_repository)})
        assert options.limits == Limits(3, 5 * MIB)
        assert options.grace_s == 7.0
        assert {"sifigan", "sifigan-tensors"} <= set(options.models)
        ports = {port["name"]: port["containerPort"] for port in server(found)[1]["ports"]}
        assert ports == {"http": options.ports.http, "grpc": options.ports.grpc, "metrics": options.ports.metrics}


def test_defaults_are_the_server_s(settings: Settings) -> None:
    limits = values()["limits"]
    assert Limits() == Limits(limits["inFlight"], limits["requestMiB"] * MIB)
    assert limits["longestFrames"] == settings.longest_frames


@pytest.mark.parametrize("name", ["", *VALUES])
def test_shared_memory_holds_all_that_may_be_in_flight(name: str, settings: Settings) -> None:
    said = values()["limits"] | VALUES.get(name, {}).get("limits", {})
    limits = Limits(said["inFlight"], said["requestMiB"] * MIB)
    frame = 4 * (1 + len(settings.voice.mcep.mean) + len(settings.voice.bap.mean))  # bytes: f0, mcep and bap in FP32
    longest = min(said["longestFrames"], limits.request_bytes // frame)
    frames = 2 * (limits.in_flight * (LONG_BYTES // frame) + limits.long_in_flight * longest)  # HTTP and gRPC
    kind = ENGINES["openvino-fp32"]
    python_models = [plan for plan in plan_models(settings, "", [kind], kind) if plan.config.backend == "python"]
    models = max(1, len(VALUES.get(name, {}).get("models", values()["models"])))
    tritons = 2 if VALUES.get(name, {}).get("repository", {}).get("from") == "store" else 1
    needed = tritons * (models * len(python_models) * SHM_BYTES + frames * SHM_A_FRAME)
    pod, container = server(manifests(name))
    (shm,) = (volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shm")
    assert shm["medium"] == "Memory"
    size = mib(shm["sizeLimit"])
    assert needed < size * MIB < 1.3 * needed + 2 * MIB
    memory = values()["resources"]["memoryMiB"]
    memory = VALUES.get(name, {}).get("resources", {}).get("memoryMiB", memory)
    assert mib(container["resources"]["limits"]["memory"]) == tritons * memory + size + HEAP_BYTES // MIB
    assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert (mounts["shm"], mounts["temporary"]) == ("/dev/shm", "/tmp")


def mib(quantity: str) -> int:
    assert quantity.endswith("Mi")
    return int(quantity.removesuffix("Mi"))


@pytest.mark.parametrize("name", ["", *VALUES])
def test_a_pod_is_killed_only_when_it_had_its_time_to_stop(name: str) -> None:
    pod, container = server(manifests(name))
    (word, seconds) = container["lifecycle"]["preStop"]["exec"]["command"]
    grace = VALUES.get(name, {}).get("limits", {}).get("graceSeconds", 30)
    assert word == "sleep"
    assert pod["terminationGracePeriodSeconds"] >= int(seconds) + grace + 20


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe"])
def test_probes_ask_for_sound_and_give_up_before_they_are_killed(probe: str) -> None:
    found = render({"models": ["sifigan-alto", "sifigan-bass"]})
    said = server(found)[1][probe]
    program, *words = said["exec"]["command"]
    assert [program, *words[:2]] == ["python3", "-m", "sifigan_triton.server.health"]
    parser = argparse.ArgumentParser()
    health.add_options(parser)
    arguments = parser.parse_args(words[2:])
    assert arguments.url == f"localhost:{server(found)[1]['ports'][0]['containerPort']}"
    assert arguments.model == ["sifigan-alto", "sifigan-bass"]
    assert arguments.timeout < said["timeoutSeconds"] <= max(said["periodSeconds"], 30)


def test_the_probe_runs_without_packages() -> None:
    command = server(manifests(""))[1]["startupProbe"]["exec"]["command"]
    words = [word.replace("localhost:8000", "localhost:1") for word in command[1:]]
    done = subprocess.run([sys.executable, "-S", *words], capture_output=True, text=True, cwd=CHART.parents[2])
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("unhealthy after")


def test_readiness_is_the_proxy_s() -> None:
    """It says 503 while calls are refused (tests/server/test_front.py), and nothing of how busy the server is."""
    probe = server(manifests(""))[1]["readinessProbe"]["httpGet"]
    assert probe == {"path": "/v2/health/ready", "port": "http"}

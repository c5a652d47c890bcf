"""`pip install` outside the checkout: a wheel, fresh environments, and a call to a server with each."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.elsewhere)},
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


Make = Callable[[str], Environment]


@pytest.fixture(scope="module")
def make(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Install the wheel with an extra into a fresh environment, at the versions of the lock."""

    def make(extra: str) -> Environment:
        folder = tmp_path_factory.mktemp("environment") / (extra or "client")
        venv.create(folder, with_pip=True, symlinks=True)
        wanted = f"{wheel}[{extra}]" if extra else str(wheel)
        lock = ROOT / "requirements.lock"
        options = ["--quiet", "--no-compile", "--only-binary=:all:", "--constraint", lock, wanted]
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", *options], check=True)
        return Environment(folder, tmp_path_factory.mktemp("elsewhere"))

    return make


@pytest.fixture(scope="module")
def client(make: Make) -> Environment:
    return make("")


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

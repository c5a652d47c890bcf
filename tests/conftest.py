"""Voices, model repositories and servers that several test modules share."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from preprocess import Settings, Voice
from sifigan_triton.build import engine_builder
from sifigan_triton.build.model_repository import BuildOptions, build
from sifigan_triton.network import export
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.generator import Generator
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.servable import find_servable
from sifigan_triton.server.triton_server import TritonServer
from sifigan_triton.voice.folder import RANDOM_CARD, load_voice, random_voice, save_voice
from tests.small_build import OPENVINO
from tests.small_voice import small_voice

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "voices" / "demo"
BUILT = ROOT / "build" / "tests"
"""Repositories that only tests use; kept between runs, rebuilt when out of date."""
SMALL = BUILT / "demo-window-128-floor-100"


@dataclass(frozen=True)
class Deployment:
    """A running server and what it serves."""

    server: TritonServer
    settings: Settings
    generator: Generator

    @property
    def voice(self) -> Voice:
        return self.settings.voice

    @property
    def urls(self) -> dict[str, str]:
        """Address of the client for each protocol."""
        return {"http": self.server.http_url, "grpc": f"grpc://{self.server.grpc_url}"}


@pytest.fixture(scope="session")
def full_voice() -> tuple[Voice, Generator]:
    """The full-size voice of random weights: what `sifigan-triton random-voice` makes."""
    return random_voice()


@pytest.fixture(scope="session")
def demo_voice() -> tuple[Voice, Generator]:
    """The demonstration voice, which is trained."""
    return load_voice(DEMO)


@pytest.fixture(scope="session")
def random_folder(full_voice: tuple[Voice, Generator]) -> Path:
    """The folder of the full-size voice of random weights."""
    folder = ROOT / "voices" / "random"
    with one_builder():
        if not (folder / "voice.json").exists():
            save_voice(folder, *full_voice, RANDOM_CARD)
    return folder


@contextmanager
def one_builder() -> Iterator[None]:
    """Keep the other processes of a parallel run from building at the same time: they build the same folders."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(folder: Path, output: Path, window: int, f0_floor: float) -> None:
    engine = ENGINES["openvino-fp32"]
    with one_builder():
        build(BuildOptions(folder, output, (engine,), None, window, f0_floor, max_batch_size=128))


def _deploy(
    folder: Path, voice: tuple[Voice, Generator], output: Path, window: int, f0_floor: float
) -> Iterator[Deployment]:
    _build(folder, output, window, f0_floor)
    spec = EngineSpec(*voice, window, f0_floor)
    models = find_servable(output, ("sifigan", "sifigan-tensors")).models
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    with TritonServer(output, models=models, client_shared_memory=True, **ports) as server:
        yield Deployment(server, spec.settings, spec.generator)


@pytest.fixture(scope="session")
def default_deployment(demo_voice: tuple[Voice, Generator]) -> Iterator[Deployment]:
    """The default build, FP32: the demonstration voice, window 512, F0 floor 70 Hz."""
    yield from _deploy(DEMO, demo_voice, BUILT / "demo-window-512-floor-70", 512, 70.0)


@pytest.fixture(scope="session")
def small_repository() -> Path:
    """What `small_deployment` serves, without its server."""
    _build(DEMO, SMALL, 128, 100.0)
    return SMALL


@pytest.fixture(scope="session")
def small_deployment(demo_voice: tuple[Voice, Generator]) -> Iterator[Deployment]:
    """The demonstration voice in a build of another shape: window 128, F0 floor 100 Hz."""
    yield from _deploy(DEMO, demo_voice, SMALL, 128, 100.0)


@pytest.fixture(scope="session")
def full_size_deployment(random_folder: Path, full_voice: tuple[Voice, Generator]) -> Iterator[Deployment]:
    """The full-size voice of random weights, whose engines take longest to build: windows of 32 and 16 frames."""
    yield from _deploy(random_folder, full_voice, BUILT / "random-window-32-floor-100", 32, 100.0)


@pytest.fixture(scope="session")
def zero_deployment() -> Iterator[Deployment]:
    """A voice of 64 channels and `pd_indexing: zero` in the default build's shape: window 512, F0 floor 70 Hz."""
    voice = random_voice("zero", channels=64, pd_indexing="zero")
    folder = BUILT / "voice-zero"
    with one_builder():
        save_voice(folder, *voice, RANDOM_CARD)
    yield from _deploy(folder, voice, BUILT / "zero-window-512-floor-70", 512, 70.0)


@pytest.fixture
def options(tmp_path: Path) -> BuildOptions:
    save_voice(tmp_path / "voice", *small_voice(), "# Card\n")
    return BuildOptions(tmp_path / "voice", tmp_path / "models", (OPENVINO,), window=32, f0_floor=400.0)


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the exports by quick ones, whose "engine" is a text naming all that determines it; log the calls.

    Such an engine cannot run: the quality gate lets everything pass.
    """
    calls: list[str] = []

    def write_text(shape: str, generator: torch.nn.Module, path: Path, dtype: torch.dtype, keep: Any) -> None:
        weight = next(generator.parameters()).double().sum().item()
        calls.append(f"engine of {shape}, weights {weight}, {dtype}, {keep}")
        path.write_text(calls[-1])

    def static(spec: EngineSpec, path: Path, dtype: Any, keep: Any = ()) -> None:
        write_text(f"{spec.window} frames, {spec.f0_floor} Hz", spec.generator, path, dtype, keep)

    def dynamic(spec: EngineSpec, path: Path, dtype: Any, keep: Any) -> None:
        write_text("any length", spec.generator, path, dtype, keep)

    monkeypatch.setattr(export, "export_onnx", static)
    monkeypatch.setattr(export, "export_cpu_onnx", static)
    monkeypatch.setattr(export, "export_dynamic_onnx", dynamic)
    monkeypatch.setattr(export, "export_torchscript", dynamic)
    passed = SimpleNamespace(passed=True, table=lambda: "all fine", as_dict=dict, overall={"snr": 99.0})
    monkeypatch.setattr(engine_builder, "judge_engine", lambda *arguments: passed)
    return calls

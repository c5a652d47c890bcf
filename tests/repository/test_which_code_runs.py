"""The real server runs the code that is staged in a model's folder, whatever is installed under the same names."""

from __future__ import annotations

import sys
import sysconfig
import venv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from preprocess import condition
from sifigan_triton.client import SifiganClient
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.model_plan import plan_models
from sifigan_triton.repository.staging import stage_model
from sifigan_triton.server.triton_server import TritonServer
from tests.small_voice import random_features, small_settings, small_voice

pytestmark = pytest.mark.server

KIND = ENGINES["openvino-fp32"]
VOICE = small_voice()[0]
SETTINGS = small_settings(VOICE)[0]
RUNTIME = """
class Engine:
    sized, batch = False, 1

    def __init__(self, folder, precision, inputs):
        pass

    def run(self, windows):
        return windows["excitation"][:, :, %d:%d].copy()
"""
"""An engine that returns the excitation."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    first = SETTINGS.halo * VOICE.hop_size
    runtime = RUNTIME % (first, first + SETTINGS.window * VOICE.hop_size)
    for plan in plan_models(SETTINGS, "", [KIND], KIND):
        files = {**plan.files, "runtime.py": runtime} if plan.name == KIND.model else plan.files
        stage_model(folder, replace(plan, files=files))
    return folder


def write_decoys(folder: Path, *more: str) -> None:
    steps = ("preprocess", "postprocess", "runtime", "sized_engine")
    ours = (*steps, "call", "deadline", "logs", "loop", "metrics", "refusals", "responses")
    for name in (*ours, *more):
        (folder / f"{name}.py").write_text(f"raise ImportError('the {name} of {folder} was taken')\n", encoding="utf-8")


def make_environment(folder: Path) -> Path:
    """Make a virtual environment that has the packages of the running one behind its own; return where those are."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "real.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return packages


@pytest.mark.parametrize("place", ["site-packages", "working-directory"])
def test_other_modules_of_the_same_names_are_not_taken(
    repository: Path, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both places come before the model's folder in the path on which the server's Python looks for modules."""
    environment, elsewhere = tmp_path / "environment", tmp_path / "elsewhere"
    elsewhere.mkdir()
    packages = make_environment(environment)
    monkeypatch.setattr(sys, "prefix", str(environment))
    monkeypatch.chdir(elsewhere)
    if place == "site-packages":
        write_decoys(packages)
    else:
        write_decoys(elsewhere, "numpy")
    f0 = np.full(40, 500.0, np.float32)
    mcep, bap = random_features(VOICE, f0.size)
    with (
        TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as server,
        SifiganClient(server.http_url) as client,
    ):
        waveform = client.synthesize(f0, mcep, bap)
    excitation, _, _ = condition(f0, mcep, bap, VOICE)
    np.testing.assert_array_equal(waveform, excitation[0])

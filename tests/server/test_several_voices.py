"""Several voices behind one address: they come and go under load, and none harms another."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from sifigan_triton.client import ServerUnavailableError, SifiganClient
from sifigan_triton.files import file_hash
from sifigan_triton.repository.model_plan import made_for, plan_models
from sifigan_triton.repository.staging import stage_model
from sifigan_triton.repository.voice_names import of_voice, voice_of
from sifigan_triton.server.health import check
from tests.ensemble.stand_in import KIND, SETTINGS, VOICE
from tests.metrics_page import read_samples
from tests.small_voice import random_features

pytestmark = pytest.mark.server

RUNTIME = """
class Engine:
    sized, batch = False, 1

    def __init__(self, folder, precision, inputs):
        self.gain = float((folder / "model.onnx").read_text())

    def run(self, windows):
        first = {halo} * {hop}
        return windows["excitation"][:, :, first : first + {window} * {hop}] * self.gain
"""
"""An engine that is loaded in no time."""
Audio = npt.NDArray[np.float32]


class Served:
    """A process of `sifigan-triton serve`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.repository = folder, folder / "models"
        self.features = (np.full(50, 500.0, np.float32), *random_features(VOICE, 50))
        ports = [word for name in ("http", "grpc", "metrics") for word in (f"--{name}-port", "0")]
        command = [sys.executable, "-m", "sifigan_triton", "serve", "--model-repository", str(self.repository), *ports]
        self.process = subprocess.Popen(
            [*command, "--logs", str(folder / "logs")],
            stdout=(folder / "said").open("w"),
            stderr=subprocess.STDOUT,
            env=os.environ | {"TMPDIR": str(folder)},
        )
        until(lambda: "Ctrl-C" in self.said or self.process.poll() is not None)
        self.http, self.grpc, self.metrics = re.findall(r"127\.0\.0\.1:\d+", self.said)

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def call(self, model: str, url: str | None = None) -> Audio:
        with SifiganClient(url or self.http, model, retries=0) as client:
            return client.synthesize(*self.features)

    def is_there(self, model: str) -> bool:
        try:
            self.call(model)
        except ServerUnavailableError as error:
            if "unknown model" not in str(error):
                raise
            return False
        return True


class Load:
    """Callers of one voice, over both protocols, whose answers all have to be the one that is expected."""

    def __init__(self, served: Served, model: str, expected: Audio) -> None:
        self.served, self.model, self.expected = served, model, expected
        self.good, self.bad, self.over = 0, [], False  # type: ignore[var-annotated]
        urls = (served.http, f"grpc://{served.grpc}")
        self.threads = [threading.Thread(target=self._run, args=(url,)) for url in urls]

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        until(lambda: self.good > 5)
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True
        for thread in self.threads:
            thread.join()

    def _run(self, url: str) -> None:
        with SifiganClient(url, self.model, retries=0) as client:
            while not self.over:
                try:
                    assert np.array_equal(client.synthesize(*self.served.features), self.expected)
                    self.good += 1
                except Exception as error:  # noqa: BLE001 - whatever a caller met
                    self.bad.append(repr(error))
                time.sleep(0.05)


def until(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def add_voice(repository: Path, name: str, gain: str) -> Path:
    """Add a voice whose engine is a factor on the excitation; return the folder of its engine."""
    window = {"window": SETTINGS.window, "halo": SETTINGS.halo, "hop": VOICE.hop_size}
    for plan in plan_models(SETTINGS, name, [KIND], KIND, name=name):
        if plan.name.endswith("-tensors"):  # a process less
            continue
        is_engine = plan.name == of_voice(KIND.model, name)
        files = {**plan.files, "runtime.py": RUNTIME.format(**window)} if is_engine else plan.files
        stage_model(repository, replace(plan, files=files))
    engine = repository / of_voice(KIND.model, name) / "1"
    (engine / "model.onnx").write_text(gain)
    made = made_for(SETTINGS, name, True) | {"engine_sha256": file_hash(engine / "model.onnx"), "smaller_windows": {}}
    (engine / "manifest.json").write_text(json.dumps(made))
    return engine


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server of one voice."""
    add_voice(tmp_path / "models", "", "0.5")
    served = Served(tmp_path)
    yield served
    served.process.terminate()
    assert served.process.wait(60) == 0


def test_voices_come_and_go_under_load(served: Served) -> None:
    """First `sifigan` alone. Then `b` comes with two that cannot be served; at last `sifigan` goes."""
    repository = served.repository
    alone = served.call("sifigan")
    assert not served.is_there("sifigan-b")

    with Load(served, "sifigan", alone) as load:
        add_voice(repository, "b", "0.25")
        (add_voice(repository, "damaged", "0.1") / "model.onnx").write_text("0.2")
        add_voice(repository, "unloadable", "no number")
        served.process.send_signal(signal.SIGHUP)
        until(lambda: served.is_there("sifigan-b"))
    assert load.bad == []
    assert "left out: sifigan-damaged: its step sifigan-damaged-openvino-fp32 is left out: model.onnx" in served.said
    assert re.search(r"sifigan-unloadable is left out until SIGHUP: .*sifigan-unloadable-openvino-fp32", served.said)
    assert not served.is_there("sifigan-damaged")
    assert not served.is_there("sifigan-unloadable")
    named = served.call("sifigan-b")
    assert not np.array_equal(named, alone)
    assert [probe.model for probe in check(served.http, (), 60.0) if probe.samples] == ["sifigan", "sifigan-b"]
    memory = {
        dict(labels)["model"]: held
        for (name, labels), held in read_samples(served.metrics).items()
        if name == "sifigan_model_memory_bytes"
    }
    assert memory.keys() >= {f"{model}{voice}" for model in ("preprocess", "postprocess") for voice in ("", "-b")}
    assert all(5e6 < held < 1e9 for held in memory.values())

    with Load(served, "sifigan-b", named) as load:
        for folder in [path for path in repository.iterdir() if voice_of(path.name) != "b"]:
            shutil.rmtree(folder)
        served.process.send_signal(signal.SIGHUP)
        until(lambda: not served.is_there("sifigan"))
    assert load.bad == []
    assert np.array_equal(served.call("sifigan-b"), named)
    assert [probe.model for probe in check(served.http, (), 60.0) if probe.samples] == ["sifigan-b"]

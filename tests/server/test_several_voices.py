"""Several voices behind one address: they come and go under load, and none harms another. With real engines."""

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

from preprocess import Voice
from sifigan_triton.build.model_repository import BuildOptions, build
from sifigan_triton.client import ServerUnavailableError, SifiganClient
from sifigan_triton.files import file_hash
from sifigan_triton.repository.voice_names import voice_of
from sifigan_triton.server.health import check
from sifigan_triton.voice.folder import RANDOM_CARD, random_voice, save_voice
from tests.metrics_page import read_samples
from tests.small_build import OPENVINO
from tests.small_voice import one_thread, random_features

pytestmark = pytest.mark.server

Audio = npt.NDArray[np.float32]


class Served:
    """A process of `sifigan-triton serve`."""

    def __init__(self, folder: Path, voice: Voice) -> None:
        self.folder, self.repository = folder, folder / "models"
        self.features = (np.full(50, 500.0, np.float32), *random_features(voice, 50))
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
            assert "unknown model" in str(error)
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


def move_in(shelf: Path, repository: Path, name: str) -> Path:
    """Bring the voice `b` of another repository under a name; return the folder of its engine."""
    for source in shelf.iterdir():
        target = repository / source.name.replace("-b", f"-{name}", 1)
        shutil.copytree(source, target)
        config = (target / "config.pbtxt").read_text()
        (target / "config.pbtxt").write_text(re.sub(r'(name: "\w+)-b\b', rf"\g<1>-{name}", config))
    return repository / f"sifigan-{name}-openvino-fp32" / "1"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server of one voice; another lies on the shelf, under the name `b`."""
    for seed, name in enumerate(("a", "b")):
        save_voice(tmp_path / name, *random_voice(name, channels=16, seed=seed), RANDOM_CARD)
    options = BuildOptions(tmp_path / "a", tmp_path / "models", (OPENVINO,), window=32, f0_floor=400.0)
    with one_thread():
        build(options)
        build(replace(options, voice=tmp_path / "b", output=tmp_path / "shelf", name="b"))
    for folder in tmp_path.glob("*/*-tensors"):  # a process less for each voice
        shutil.rmtree(folder)
    served = Served(tmp_path, random_voice("a", channels=16)[0])
    yield served
    served.process.terminate()
    assert served.process.wait(60) == 0


def test_voices_come_and_go_under_load(served: Served) -> None:
    """First `sifigan` alone. Then `b` comes with two that cannot be served; at last `sifigan` goes."""
    shelf, repository = served.folder / "shelf", served.repository
    alone = served.call("sifigan")
    assert not served.is_there("sifigan-b")

    with Load(served, "sifigan", alone) as load:
        move_in(shelf, repository, "b")
        damaged = move_in(shelf, repository, "damaged")
        (damaged / "model.onnx").write_bytes(b"damaged")
        unloadable = move_in(shelf, repository, "unloadable")
        (unloadable / "model.onnx").write_bytes(b"no graph")
        manifest = json.loads((unloadable / "manifest.json").read_text())
        manifest["engine_sha256"] = file_hash(unloadable / "model.onnx")
        (unloadable / "manifest.json").write_text(json.dumps(manifest))
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

"""Two workers of one corpus on the real server, one of them killed and started again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from benchmarks.tracks import DATA, recordings
from sifigan_triton.bulk.corpus import is_whole
from sifigan_triton.features.audio import write_audio
from sifigan_triton.features.features import Features
from tests.conftest import Deployment

pytestmark = pytest.mark.server

FILES = 40


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, small_deployment: Deployment) -> Path:
    folder, sung = tmp_path_factory.mktemp("corpus"), recordings().raised_to(small_deployment.settings.f0_floor)
    for k in range(FILES):
        part = slice(10 * k, 10 * k + 200)
        features = Features(sung.f0[part], sung.mcep[part], sung.bap[part], 24000, 5.0)
        features.save(folder / "ab"[k % 2] / f"{k}.npz")
    return folder


def start(corpus: Path, output: Path, url: str, worker: int = 0, workers: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sifigan_triton", "bulk", str(corpus), str(output), "--url", url, "--jobs=2"]
    return subprocess.Popen(
        [*command, f"--workers={workers}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"JOB_COMPLETION_INDEX": str(worker)},
    )


def counts(process: subprocess.Popen[str]) -> dict[str, int]:
    """Wait for a worker's end; return the line that it ends with."""
    output, _ = process.communicate(timeout=120.0)
    assert process.returncode == 0, output
    line: dict[str, int] = json.loads(output.splitlines()[-1])
    return line


def hashes(output: Path) -> dict[str, str]:
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in output.rglob("*.wav")
    }


def test_one_worker_killed_and_started_again(tmp_path: Path, corpus: Path, small_deployment: Deployment) -> None:
    url, output = small_deployment.urls["http"], tmp_path / "two"
    first = start(corpus, output, url, 0, 2)
    until = time.monotonic() + 60.0
    while not hashes(output) and time.monotonic() < until:  # the one that is killed has made some of its own
        time.sleep(0.01)
    second = start(corpus, output, url, 1, 2)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    seen = hashes(output)
    assert 0 < len(seen) < FILES
    assert all(is_whole(output / name) for name in seen)
    again = counts(start(corpus, output, url, 0, 2))
    assert again["there"] > 0
    assert again["made"] > 0
    other = counts(second)
    assert other["there"] == 0
    assert again["files"] + other["files"] == FILES
    assert counts(start(corpus, tmp_path / "one", url))["made"] == FILES
    assert hashes(output) == hashes(tmp_path / "one")
    assert len(hashes(output)) == FILES
    assert seen.items() <= hashes(output).items()  # nothing was made twice, or changed
    assert counts(start(corpus, output, url))["there"] == FILES


def test_what_fails_is_told_and_the_rest_is_made(tmp_path: Path, corpus: Path, small_deployment: Deployment) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.npz").write_bytes((corpus / "a" / "0.npz").read_bytes())
    (folder / "bad.npz").write_bytes(b"no features")
    sung, rate = soundfile.read(DATA / "vocadito_14.flac", start=3 * 44100, frames=44100)
    write_audio(folder / "recording.flac", sung, rate)
    process = start(folder, tmp_path / "out", small_deployment.urls["grpc"])
    output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 1
    told = json.loads(output.splitlines()[-1])
    assert (told["made"], told["failed"], told["left"]) == (2, 1, 0)
    report = json.loads(Path(told["report"]).read_text())
    assert list(report["errors"]) == [str(folder / "bad.npz")]
    assert sorted(hashes(tmp_path / "out")) == ["good.wav", "recording.wav"]

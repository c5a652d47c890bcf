"""The command line, run as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from preprocess import Voice
from sifigan_triton.features.features import Features
from sifigan_triton.voice.folder import load_voice
from tests.conftest import ROOT, Deployment


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sifigan_triton", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of a real recording, as 44.1 kHz stereo."""
    samples, rate = soundfile.read(ROOT / "measurement_data" / "vocadito_14.flac", start=50400, frames=12000)
    path = tmp_path_factory.mktemp("recording") / "in.wav"
    soundfile.write(path, np.stack([samples, samples], axis=1), rate)
    return path


def test_help_teaches_the_commands() -> None:
    shown = run("--help").stdout
    for command in ("import", "random-voice", "analyze", "synthesize", "resynthesize", "serve", "demo", "benchmark"):
        assert command in shown
    assert "resynthesize in.wav -o out.wav --f0-factor 1.26" in shown


@pytest.mark.parametrize("command", ["import", "analyze", "synthesize", "resynthesize", "serve", "demo", "benchmark"])
def test_each_command_has_help(command: str) -> None:
    shown = run(command, "--help")
    assert shown.returncode == 0
    assert "default" in shown.stdout


def test_random_voice_is_a_voice(tmp_path: Path) -> None:
    done = run("random-voice", "--channels", 16, "--seed", 3, "--output", tmp_path / "voice")
    assert done.returncode == 0, done.stderr
    voice, generator = load_voice(tmp_path / "voice")
    assert voice.generator.channels == 16
    assert sum(p.numel() for p in generator.parameters()) > 1000
    assert "noise" in (tmp_path / "voice" / "README.md").read_text(encoding="utf-8")


@pytest.mark.server
def test_analyze_then_synthesize_is_resynthesize(small_deployment: Deployment, recording: Path, tmp_path: Path) -> None:
    url = ("--url", small_deployment.server.http_url)
    done = run("analyze", recording, "-o", tmp_path / "f.npz")
    assert done.returncode == 0, done.stderr
    features = Features.load(tmp_path / "f.npz")
    done = run("synthesize", tmp_path / "f.npz", "-o", tmp_path / "two.wav", *url)
    assert done.returncode == 0, done.stderr
    done = run("resynthesize", recording, "-o", tmp_path / "one.wav", "--plot", tmp_path / "one.png", *url)
    assert done.returncode == 0, done.stderr
    two, rate = soundfile.read(tmp_path / "two.wav", dtype="int16")
    assert rate == Voice.load(ROOT / "voices" / "demo" / "voice.json").sample_rate
    assert two.size == features.frames * 120
    assert np.array_equal(two, soundfile.read(tmp_path / "one.wav", dtype="int16")[0])
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.server
def test_f0_factor_over_grpc(small_deployment: Deployment, recording: Path, tmp_path: Path) -> None:
    url = ("--url", f"grpc://{small_deployment.server.grpc_url}")
    for factor in (1.0, 1.26):
        done = run("resynthesize", recording, "-o", tmp_path / f"{factor}.wav", "--f0-factor", factor, *url)
        assert done.returncode == 0, done.stderr
    kept, moved = (soundfile.read(tmp_path / f"{factor}.wav")[0] for factor in (1.0, 1.26))
    assert kept.size == moved.size
    assert not np.array_equal(kept, moved)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("analyze", "nowhere.wav", "-o", "f.npz"), r"nowhere.wav"),
        (("synthesize", "nowhere.npz", "-o", "o.wav"), r"nowhere.npz"),
        (("resynthesize", "measurement_data/README.md", "-o", "o.wav"), r"README.md"),
        (("serve", "--model-repository", "nowhere"), r"nowhere"),
    ],
    ids=["no recording", "no features", "not audio", "no repository"],
)
def test_errors_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr

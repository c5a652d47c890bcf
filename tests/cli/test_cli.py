"""The command line, run as a user runs it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from preprocess import Voice
from sifigan_triton.features.features import Features
from sifigan_triton.voice.folder import load_voice
from tests.conftest import ROOT, Deployment
from tests.public_files import write_public_files


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


def test_a_voice_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    assert run("random-voice", "--channels", 16, "--output", tmp_path).returncode == 0
    before = (tmp_path / "generator.safetensors").read_bytes()
    done = run("random-voice", "--channels", 16, "--seed", 1, "--output", tmp_path)
    assert done.returncode == 1
    assert "holds a voice already: name another folder, or add --overwrite" in done.stderr
    assert (tmp_path / "generator.safetensors").read_bytes() == before
    assert run("random-voice", "--channels", 16, "--seed", 1, "--output", tmp_path, "--overwrite").returncode == 0


def test_the_recording_is_not_overwritten(recording: Path, tmp_path: Path) -> None:
    before = recording.read_bytes()
    for plot in (tmp_path / "p.png", recording):
        done = run("resynthesize", recording, "-o", recording, "--plot", plot)
        assert done.returncode == 1
    assert "one would replace another" in run("resynthesize", recording, "-o", recording).stderr
    assert recording.read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ("--seed", "99999999999999999999"),
        ("--seed", "-1"),
        ("--timeout", "0"),
        ("--timeout", "nan"),
    ],
)
def test_numbers_out_of_range_are_wrong_usage(words: tuple[str, ...]) -> None:
    done = run("synthesize", "f.npz", "-o", "x.wav", *words)
    assert done.returncode == 2
    assert f"{words[1]!r}, expected a number from" in done.stderr


def public_arguments(folder: Path) -> tuple[object, ...]:
    files = write_public_files(folder)
    return ("import", "--checkpoint", files.checkpoint, "--stats", files.stats, "--generator", files.generator_yaml)


def test_import_asks_for_the_indexing(tmp_path: Path) -> None:
    asked = public_arguments(tmp_path)
    done = run(*asked, "-o", tmp_path / "voice")
    assert done.returncode == 2
    assert "required: --pd-indexing" in done.stderr
    done = run(*asked, "-o", tmp_path / "voice", "--pd-indexing", "zero", "--recording", "a.wav")
    assert "belong together" in done.stderr
    assert not (tmp_path / "voice").exists()
    done = run(*asked, "-o", tmp_path / "voice", "--pd-indexing", "zero")
    assert done.returncode == 0, done.stderr
    assert load_voice(tmp_path / "voice")[0].pd_indexing == "zero"


def test_import_does_not_guess_the_indexing(recording: Path, tmp_path: Path) -> None:
    found = ("--pd-indexing", "find", "--recording", recording)
    done = run(*public_arguments(tmp_path), "-o", tmp_path / "voice", *found)
    assert done.returncode == 1
    assert "in.wav, reflect" in done.stdout
    assert "in.wav, zero" in done.stdout
    assert "the two cannot be told apart" in done.stderr
    assert not (tmp_path / "voice").exists()


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


def test_features_go_through_standard_output(recording: Path, tmp_path: Path) -> None:
    """The link stands for /dev/stdout, which a fault would replace on this machine."""
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    command = [sys.executable, "-m", "sifigan_triton", "analyze", str(recording), "-o", str(tmp_path / "stdout")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300, check=True)
    (tmp_path / "piped.npz").write_bytes(done.stdout)
    assert b"frames" in done.stderr
    assert run("analyze", recording, "-o", tmp_path / "f.npz").returncode == 0
    piped, written = Features.load(tmp_path / "piped.npz"), Features.load(tmp_path / "f.npz")
    assert np.array_equal(piped.mcep, written.mcep)


@pytest.mark.server
def test_audio_goes_into_a_fifo_and_flac_into_flac(
    small_deployment: Deployment, recording: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "fifo").read_bytes()), daemon=True)
    reader.start()
    for name in ("fifo", "out.flac"):
        done = run("resynthesize", recording, "-o", tmp_path / name, "--url", small_deployment.server.http_url)
        assert done.returncode == 0, done.stderr
    reader.join(10.0)
    kept, rate = soundfile.read(tmp_path / "out.flac", dtype="int16")
    piped, piped_rate = soundfile.read(io.BytesIO(read[0]), dtype="int16")
    assert soundfile.info(tmp_path / "out.flac").format == "FLAC"
    assert rate == piped_rate
    assert np.array_equal(kept, piped)


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
        (("analyze", "nowhere.wav", "-o", "tests"), r"tests: is a folder, expected the name of a file to write"),
        (
            ("resynthesize", "nowhere.wav", "-o", "o.ogg"),
            r"o.ogg: cannot write .ogg, expected a name that ends in .wav",
        ),
        (("synthesize", "nowhere.npz", "-o", "o.wav", "--plot", "p.jpg"), r"p.jpg: cannot draw .jpg, expected"),
    ],
    ids=["no recording", "no features", "not audio", "no repository", "folder", "audio format", "picture format"],
)
def test_errors_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr

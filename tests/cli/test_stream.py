"""`synthesize --stream`: what is written while it is made is what one call gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sifigan_triton.cli.main import main
from sifigan_triton.features.features import Features
from tests.conftest import Deployment


def written(features: Path, frames: int) -> Path:
    """Write features of a voice that glides, with a gap."""
    f0 = np.linspace(150.0, 400.0, frames, dtype=np.float32)
    f0[frames // 3 : frames // 2] = 0.0
    rng = np.random.default_rng(0)
    arrays = (f0, *(rng.normal(scale=0.1, size=(frames, width)).astype(np.float32) for width in (40, 3)))
    Features(*arrays, 24000, 5.0).save(features)
    return features


@pytest.mark.server
def test_a_stream_is_what_one_call_gives(small_deployment: Deployment, tmp_path: Path) -> None:
    source = written(tmp_path / "a.npz", 700)
    command = [sys.executable, "-m", "sifigan_triton", "synthesize", source, "--url", small_deployment.server.http_url]
    for options in (["-o", tmp_path / "whole.wav"], ["-o", tmp_path / "new" / "grown.wav", "--stream"]):
        subprocess.run([*command, *options], check=True)
    raw = subprocess.run([*command, "--stream", "-o", "-"], check=True, capture_output=True).stdout
    whole, rate = soundfile.read(tmp_path / "whole.wav", dtype="int16")
    grown, grown_rate = soundfile.read(tmp_path / "new" / "grown.wav", dtype="int16")
    assert rate == grown_rate == 24000
    assert whole.size == 700 * 120
    assert np.abs(whole).max() > 100
    np.testing.assert_allclose(grown, whole, atol=1)
    np.testing.assert_array_equal(np.frombuffer(raw, "<i2"), grown)
    player = subprocess.Popen([*command, "--stream", "-o", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert player.stdout is not None
    assert player.stdout.read(1000) == raw[:1000]
    player.stdout.close()  # the player goes
    assert player.stderr is not None
    assert (player.wait(60), player.stderr.read()) == (0, b"/dev/stdout: 3.50 s\n")


@pytest.mark.server
def test_what_is_too_long_for_one_call_is_streamed(
    small_deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    longest = 128 * 128
    source = written(tmp_path / "a.npz", longest + 1)
    command = ["synthesize", str(source), "--url", small_deployment.server.http_url, "-o"]
    assert main([*command, str(tmp_path / "a.wav"), "--plot", str(tmp_path / "a.png")]) == 1
    assert f"f0 has {longest + 1} frames" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "a.wav")]) == 0
    assert "it is streamed" in capsys.readouterr().err
    assert soundfile.info(tmp_path / "a.wav").frames == (longest + 1) * 120


def test_what_cannot_grow_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(written(tmp_path / "a.npz", 9))
    for options, message in (
        (["-o", str(tmp_path / "a.flac")], "a.flac would be a FLAC file, which cannot grow: name a .wav file"),
        (["-o", str(tmp_path / "a.wav"), "--plot", "a.png"], "--plot draws a whole file and --stream has none"),
        (["-o", str(tmp_path)], "--stream makes one file: give one input"),
    ):
        assert main(["synthesize", source, "--stream", *options]) == 1
        assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]

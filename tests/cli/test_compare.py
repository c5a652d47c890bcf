"""`sifigan-triton compare` on files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sifigan_triton.cli.compare import compare
from sifigan_triton.features.audio import AudioError
from sifigan_triton.features.features import Features
from sifigan_triton.quality.pair import QualityError
from tests.quality_clips import RATE, clip, resynthesis, with_error, world


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the clip, a copy with an error of 30 dB SNR, and others."""
    f0 = world()[0].astype(np.float32)
    silence, hole = np.zeros(48000), clip().copy()
    hole[5] = np.nan
    waveforms = {"ref": clip(), "noisy": with_error(clip(), 30.0), "silence": silence, "hole": hole}
    for name, waveform in (waveforms | {"world": resynthesis()[:-120]}).items():
        soundfile.write(tmp_path / f"{name}.wav", waveform, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "fast.wav", clip(), 48000)
    mcep, bap = np.zeros((len(f0), 40), np.float32), np.zeros((len(f0), 3), np.float32)
    Features(f0, mcep, bap, RATE, 5.0).save(tmp_path / "f.npz")
    return tmp_path


def arguments(folder: Path, reference: str, test: str, **options: Any) -> argparse.Namespace:
    values = {"mode": "parity", "precision": None, "bound": None, "features": None, "range_db": 80.0, "json": None}
    return argparse.Namespace(reference=folder / reference, test=folder / test, **(values | options))


def test_without_bounds_everything_passes(files: Path) -> None:
    verdict = compare(arguments(files, "ref.wav", "noisy.wav", json=files / "out" / "scores.json"))
    assert verdict.passed
    assert verdict.overall["snr"] == pytest.approx(30.0, abs=0.01)
    assert "ref.wav -> noisy.wav" in verdict.table()
    shown = json.loads((files / "out" / "scores.json").read_text(encoding="utf-8"))
    assert shown["overall"]["snr"] == pytest.approx(30.0, abs=0.01)


def test_bounds_that_were_asked_for_decide(files: Path) -> None:
    verdict = compare(arguments(files, "ref.wav", "noisy.wav", precision="fp16", features=files / "f.npz"))
    assert "ref.wav -> noisy.wav: snr is 30.0 dB, expected at least 50 dB" in verdict.reasons
    assert verdict.following is not None
    relaxed = ["snr=25", "visqol=1", *(f"{name}=inf" for name in ("mcd", "envelope", "log_f0", "vuv"))]
    assert compare(arguments(files, "ref.wav", "noisy.wav", precision="fp16", bound=relaxed)).passed


def test_recording_mode_takes_the_common_length(files: Path) -> None:
    verdict = compare(arguments(files, "ref.wav", "world.wav", mode="recording", bound=["mcd=0.1"]))
    assert not verdict.passed
    assert verdict.scores[0].left_out_seconds == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("reference", "test", "options", "message"),
    [
        ("none.wav", "ref.wav", {}, r"none\.wav: no such file"),
        ("f.npz", "ref.wav", {}, r"f\.npz: not readable as audio"),
        ("fast.wav", "ref.wav", {}, r"fast\.wav: sample rate is 48,000 Hz, expected 24,000 Hz.*resample both"),
        ("ref.wav", "world.wav", {}, r"test has 47,880 samples, expected 48,000 .* use --mode recording"),
        ("silence.wav", "ref.wav", {}, r"silence\.wav -> ref\.wav: reference is silent"),
        ("hole.wav", "ref.wav", {}, r"reference holds 1 samples that are NaN or infinite, the first is sample 5"),
        ("ref.wav", "ref.wav", {"bound": ["snr"]}, r"bound is 'snr', expected name=value"),
        ("ref.wav", "ref.wav", {"mode": "recording", "precision": "fp16"}, r"no meaning in recording mode"),
        ("ref.wav", "ref.wav", {"mode": "recording", "features": Path("f.npz")}, r"--features gives the F0"),
    ],
)
def test_errors(files: Path, reference: str, test: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises((AudioError, QualityError), match=message):
        compare(arguments(files, reference, test, **options))


def test_a_broken_test_file_is_a_verdict(files: Path) -> None:
    verdict = compare(arguments(files, "ref.wav", "hole.wav"))
    assert verdict.reasons == [
        "ref.wav -> hole.wav: 1 samples are NaN or infinite, the first is sample 5, expected none"
    ]

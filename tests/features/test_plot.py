"""The picture of a synthesized utterance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

from sifigan_triton.features.plot import DYNAMIC_RANGE_DB, log_spectrogram, plot_synthesis

RATE = 24000
F0 = np.concatenate([np.zeros(60), np.full(80, 220.0), np.zeros(60)]).astype(np.float32)


def tone(hz: float, seconds: float = 1.0) -> NDArray[np.float64]:
    """Make a sine of amplitude 0.5."""
    return 0.5 * np.sin(2.0 * np.pi * hz * np.arange(round(RATE * seconds)) / RATE)


def contour_columns(path: Path) -> NDArray[np.bool_]:
    """Say which pixel columns of the lower picture hold the contour's colour (the legend lies higher up)."""
    pixels = imread(path)[:, :, :3]
    lower = pixels[int(0.45 * len(pixels)) : int(0.9 * len(pixels))]
    blue = (lower[..., 0] < 0.4) & (lower[..., 1] > 0.75) & (lower[..., 2] > 0.85)
    return np.asarray(blue.any(axis=0))


def test_contour_has_gaps_where_unvoiced(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "plot.png"
    plot_synthesis(path, tone(220.0).astype(np.float32), RATE, F0, 5.0, "a title")
    columns = np.flatnonzero(contour_columns(path))
    width = imread(path).shape[1]
    assert 0.25 * width < columns.min() < 0.4 * width
    assert 0.55 * width < columns.max() < 0.75 * width
    assert [entry.name for entry in path.parent.iterdir()] == ["plot.png"]


def test_unvoiced_draws_no_contour(tmp_path: Path) -> None:
    plot_synthesis(tmp_path / "plot.png", tone(220.0), RATE, np.zeros(200, np.float32), 5.0, "a title")
    assert not contour_columns(tmp_path / "plot.png").any()


def test_float_and_pcm16_look_the_same(tmp_path: Path) -> None:
    pcm16 = np.rint(tone(300.0) * 32768).astype(np.int16)
    plot_synthesis(tmp_path / "int.png", pcm16, RATE, F0, 5.0, "a title")
    plot_synthesis(tmp_path / "float.png", pcm16 / 32768.0, RATE, F0, 5.0, "a title")
    assert np.array_equal(imread(tmp_path / "int.png"), imread(tmp_path / "float.png"))


@pytest.mark.parametrize("samples", [1, 120, 24000 * 30], ids=["one-sample", "one-frame", "30-s"])
def test_any_length(tmp_path: Path, samples: int) -> None:
    waveform = np.random.default_rng(0).normal(0.0, 0.1, samples)
    f0 = np.full(samples // 120 + 1, 30.0)
    plot_synthesis(tmp_path / "plot.png", waveform, RATE, f0, 5.0, "a title")
    assert imread(tmp_path / "plot.png").shape[2] in (3, 4)


@pytest.mark.parametrize(
    ("name", "start"),
    [("p.png", b"\x89PNG"), ("p.PDF", b"%PDF-"), ("p.svg", b"<?xml"), ("p", b"\x89PNG")],
)
def test_name_gives_the_format(tmp_path: Path, name: str, start: bytes) -> None:
    plot_synthesis(tmp_path / name, tone(220.0), RATE, F0, 5.0, "a title")
    assert (tmp_path / name).read_bytes().startswith(start)


def test_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"p\.jpg: cannot draw \.jpg, expected a name that ends in one of \.png, \.pdf"
    ):
        plot_synthesis(tmp_path / "p.jpg", tone(220.0), RATE, F0, 5.0, "a title")
    assert not list(tmp_path.iterdir())


def test_silence_makes_no_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    plot_synthesis(tmp_path / "plot.png", np.zeros(2400, np.float32), RATE, np.zeros(20, np.float32), 5.0, "silence")
    assert not [str(warning.message) for warning in recwarn]


@pytest.mark.parametrize("hz", [200.0, 1000.0, 5000.0])
def test_spectrogram_peaks_at_the_tone(hz: float) -> None:
    frequencies = np.geomspace(60.0, 8000.0, 480)
    level, step_s = log_spectrogram(tone(hz), RATE, frequencies)
    assert step_s == pytest.approx(0.005)
    assert level.shape == (480, 201)
    assert level.max() <= 0.0
    assert level.min() == pytest.approx(-DYNAMIC_RANGE_DB)
    assert frequencies[np.argmax(level[:, 100])] == pytest.approx(hz, rel=0.02)


@pytest.mark.parametrize(
    ("waveform", "f0", "message"),
    [
        pytest.param(np.zeros((1, 9)), np.zeros(1), r"waveform has shape \(1, 9\), expected one axis", id="waveform"),
        pytest.param(np.zeros(9), np.zeros(0), r"f0 has shape \(0,\), expected one axis that is not empty", id="f0"),
    ],
)
def test_unusable_arguments(
    tmp_path: Path, waveform: NDArray[np.float64], f0: NDArray[np.float64], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plot_synthesis(tmp_path / "plot.png", waveform, RATE, f0, 5.0, "a title")
    assert not list(tmp_path.iterdir())

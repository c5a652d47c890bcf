"""A picture of a synthesized utterance: waveform, and spectrogram with the F0 contour over it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from sifigan_triton.files import atomic_file

WINDOW_SIZE = 1024
"""Samples of a spectrogram column (43 ms at 24 kHz: the harmonics of a singing voice stand apart)."""

FFT_SIZE = 4096
"""Points of its Fourier transform (padded with zeros, for a smooth picture of the low harmonics)."""

MAX_COLUMNS = 2000
"""Most columns of the spectrogram; longer audio is stepped through more coarsely."""

ROWS = 480
"""Rows of the spectrogram, evenly spaced on a logarithmic frequency axis."""

DYNAMIC_RANGE_DB = 80.0
BOTTOM_HZ = 60.0
TOP_HZ = 8000.0
TICKS_HZ = (20, 50, 100, 200, 300, 500, 1000, 2000, 3000, 5000, 8000)
DPI = 130


FORMATS = {"": "png", ".png": "png", ".pdf": "pdf", ".svg": "svg"}
"""Format by the ending of the picture's name."""


def picture_format(path: Path) -> str:
    """Return the format that the name of a picture asks for, as matplotlib calls it.

    Raises:
        ValueError: if it is none of `FORMATS`.

    """
    name = FORMATS.get(Path(path).suffix.lower())
    if name is None:
        endings = ", ".join(ending for ending in FORMATS if ending)
        raise ValueError(f"{path}: cannot draw {Path(path).suffix}, expected a name that ends in one of {endings}")
    return name


def plot_synthesis(
    path: Path,
    waveform: NDArray[np.float32] | NDArray[np.float64] | NDArray[np.int16],
    sample_rate: int,
    f0: NDArray[np.float32] | NDArray[np.float64],
    frame_period_ms: float,
    title: str,
) -> None:
    """Draw waveform and log spectrogram, with the F0 contour that was asked for, into a picture.

    Args:
        path: the PNG, PDF or SVG file (PNG without an ending), which appears whole or not at all; missing parent
            folders are made.
        waveform: (L,), floating point with full scale = 1, or int16.
        sample_rate: samples a second, in Hz.
        f0: (T,) Hz, 0 where unvoiced (a gap in the contour).
        frame_period_ms: milliseconds from one frame to the next.
        title: a line over the picture.

    Raises:
        ValueError: if waveform or f0 is empty or has more than one axis, or the name another ending.
        OSError: if the file cannot be written.

    """
    kind = picture_format(path)
    for name, array in (("waveform", waveform), ("f0", f0)):
        if array.ndim != 1 or len(array) == 0:
            raise ValueError(f"{name} has shape {array.shape}, expected one axis that is not empty")
    scale = 1.0 / 32768.0 if waveform.dtype == np.int16 else 1.0
    samples = waveform.astype(np.float64) * scale
    seconds = len(samples) / sample_rate
    figure = Figure(figsize=(11.0, 6.2), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display, whatever backend is chosen elsewhere
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1.0, 2.6])
    _draw_waveform(top, samples, sample_rate)
    voiced = f0[f0 > 0.0]
    lowest = min(BOTTOM_HZ, 0.8 * float(voiced.min())) if len(voiced) else BOTTOM_HZ
    image = _draw_spectrogram(bottom, samples, sample_rate, lowest)
    _draw_f0(bottom, f0, frame_period_ms)
    bottom.set_xlim(0.0, seconds)
    bottom.set_xlabel("Time (s)")
    figure.colorbar(image, ax=bottom, pad=0.012, aspect=28).set_label("Level relative to the peak (dB)")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    with atomic_file(Path(path)) as file:
        figure.savefig(file, format=kind)


def log_spectrogram(
    samples: NDArray[np.float64], sample_rate: int, frequencies: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Compute the level at given frequencies over time, relative to the peak.

    Args:
        samples: float64 (L,).
        sample_rate: samples a second, in Hz.
        frequencies: (F,) Hz, up to sample_rate / 2.

    Returns:
        float64 (F, columns) in dB, 0 at the peak and at least -DYNAMIC_RANGE_DB, and the seconds from one column to
        the next; the first column is centred on time 0.

    """
    step = max(sample_rate // 200, -(-len(samples) // MAX_COLUMNS))
    padded = np.pad(samples, WINDOW_SIZE // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SIZE)[::step]  # (columns, WINDOW_SIZE)
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW_SIZE), n=FFT_SIZE, axis=1)) ** 2
    peak = max(float(power.max()), 1e-20)
    level = 10.0 * np.log10(np.maximum(power / peak, 10.0 ** (-DYNAMIC_RANGE_DB / 10.0)))  # (columns, bins)
    position = np.clip(frequencies * FFT_SIZE / sample_rate, 0.0, level.shape[1] - 1.0)
    lower = np.minimum(position.astype(np.int64), level.shape[1] - 2)
    weight = position - lower
    return ((1.0 - weight) * level[:, lower] + weight * level[:, lower + 1]).T, step / sample_rate


def _draw_waveform(axes: Axes, samples: NDArray[np.float64], sample_rate: int) -> None:
    """Draw the waveform over seconds."""
    axes.plot(np.arange(len(samples)) / sample_rate, samples, color="#27526e", linewidth=0.4)
    peak = max(float(np.abs(samples).max()), 1e-3)
    axes.set_ylim(-1.08 * peak, 1.08 * peak)
    axes.axhline(0.0, color="#27526e", linewidth=0.4, alpha=0.6)
    axes.set_ylabel("Amplitude\n(full scale = 1)")
    axes.grid(axis="x", color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_spectrogram(axes: Axes, samples: NDArray[np.float64], sample_rate: int, lowest_hz: float) -> AxesImage:
    """Draw the log spectrogram over seconds and log10 Hz."""
    bottom, top = np.log10(lowest_hz), np.log10(min(TOP_HZ, sample_rate / 2))
    level, step_s = log_spectrogram(samples, sample_rate, np.logspace(bottom, top, ROWS))
    image = axes.imshow(
        level,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-DYNAMIC_RANGE_DB,
        vmax=0.0,
        interpolation="bilinear",
        extent=(-step_s / 2, (level.shape[1] - 0.5) * step_s, float(bottom), float(top)),
    )
    ticks = [hz for hz in TICKS_HZ if bottom <= np.log10(hz) <= top]
    axes.set_yticks(np.log10(ticks), [f"{hz:,}" for hz in ticks])
    axes.set_ylim(bottom, top)
    axes.set_ylabel("Frequency (Hz, logarithmic)")
    return image


def _draw_f0(axes: Axes, f0: NDArray[np.float32] | NDArray[np.float64], frame_period_ms: float) -> None:
    """Draw the voiced parts of an F0 contour over seconds and log10 Hz."""
    voiced = np.log10(np.where(f0 > 0.0, f0, np.nan))
    times = np.arange(len(f0)) * frame_period_ms / 1000.0
    axes.plot(times, voiced, color="black", linewidth=3.2, alpha=0.6, solid_capstyle="round")
    axes.plot(times, voiced, color="#35e0ff", linewidth=1.6, solid_capstyle="round", label="F0 asked for")
    axes.legend(loc="upper right", fontsize=9, framealpha=0.85)

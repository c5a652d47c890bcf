"""The rows as a picture: throughput, latency, and where a request's time goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sifigan_triton.files import atomic_file
from sifigan_triton.measure.row import Row

DPI = 80
"""Keeps the file small."""


def draw_chart(path: Path, rows: Sequence[Row]) -> None:
    """Draw the rows into a PNG file, which appears whole or not at all.

    Raises:
        OSError: if the file cannot be written.

    """
    figure = Figure(figsize=(14.0, 1.6 + 0.32 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3, sharey=True)
    names = [f"{r.case.kind.name} {r.case.workload.name} {r.case.protocol} {r.case.load}" for r in rows]
    axes[0].set_yticks(range(len(rows)), names, fontsize=8)
    axes[0].invert_yaxis()
    _throughput(axes[0], rows)
    _latency(axes[1], rows)
    _steps(axes[2], rows)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=DPI)


def _throughput(axes: Axes, rows: Sequence[Row]) -> None:
    spreads = [row.audio_seconds_per_second for row in rows]
    middle = [spread.median for spread in spreads]
    errors = [[s.median - s.low for s in spreads], [s.high - s.median for s in spreads]]
    axes.barh(range(len(rows)), middle, xerr=errors, color="tab:blue", capsize=2)
    axes.set_xlabel("seconds of audio a second (median, range of the rounds)")


def _latency(axes: Axes, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        latency = row.latency_ms
        axes.plot([latency["p50"], latency["p99"]], [place, place], color="tab:gray", linewidth=1)
    for name, marker in (("p50", "o"), ("p90", "|"), ("p95", "|"), ("p99", "x")):
        values = [row.latency_ms[name] for row in rows]
        axes.plot(values, range(len(rows)), marker, label=name, markersize=6)
    axes.set_xscale("log")
    axes.set_xlabel("latency in ms, from when a request is due")
    axes.legend(fontsize=8)


def _steps(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw where the time of a request goes: waiting for a step, computing, and what is left for the transport."""
    colours = {"preprocess": "tab:green", "engine": "tab:blue", "postprocess": "tab:orange"}
    for place, row in enumerate(rows):
        left = 0.0
        for name, step in row.steps.items():
            part = "engine" if name == row.case.kind.model else name.partition("-")[0]
            axes.barh(place, step.queue_ms, left=left, color=colours[part], alpha=0.35)
            axes.barh(place, step.compute_ms, left=left + step.queue_ms, color=colours[part])
            left += step.queue_ms + step.compute_ms
    axes.legend(
        handles=[axes.barh(0, 0, color=colour) for colour in colours.values()], labels=list(colours), fontsize=8
    )
    axes.set_xlabel("mean ms in the server's steps (pale: queued)")

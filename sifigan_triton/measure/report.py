"""What a benchmark writes: the rows as a table, as a picture and as JSON, and text between two marks of a document."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sifigan_triton.files import atomic_file
from sifigan_triton.measure.bare_engine import read_settings
from sifigan_triton.measure.machine import describe_machine
from sifigan_triton.measure.plan import BenchmarkOptions
from sifigan_triton.measure.row import Row

DPI = 80
"""Keeps the file small."""
LEGEND = """\
- load: clients that each wait for their answer, or Poisson arrivals at a share of the rate that one client reaches;
  latencies count from the arrival. `in-process`: the bare engine on the same windows, one request at a time.
- infer/s, audio s/s, and the throughput against the bare engine's in the same round: median over the rounds
  (smallest-largest). RTF: median latency a second of audio.
- preprocess, engine, postprocess: mean ms queued + computing. outside: share of the mean latency in which a request
  neither waited for the engine nor was computed by it. batch: requests in a call of the engine.
- waste: frames computed for one asked for, halos not counted. CPU s/s: the server's CPU seconds a second of audio.
  MiB: memory of its processes, shared pages once."""

COLUMNS: dict[str, Callable[[Row], str]] = {
    "model": lambda row: row.case.label,
    "frames": lambda row: row.case.workload.name,
    "load": lambda row: row.case.load,
    "over": lambda row: row.case.protocol,
    "infer/s": lambda row: str(row.requests_per_second),
    "audio s/s": lambda row: str(row.audio_seconds_per_second),
    "against bare": lambda row: "" if row.against_bare is None else str(row.against_bare),
    "RTF": lambda row: f"{row.real_time_factor:.3f}",
    "p50 ms": lambda row: f"{row.latency_ms['p50']:.1f}",
    "p90": lambda row: f"{row.latency_ms['p90']:.1f}",
    "p95": lambda row: f"{row.latency_ms['p95']:.1f}",
    "p99": lambda row: f"{row.latency_ms['p99']:.1f}",
    "preprocess": lambda row: _times(row, "preprocess"),
    "engine": lambda row: _times(row, "engine"),
    "postprocess": lambda row: _times(row, "postprocess"),
    "outside": lambda row: "" if row.outside_engine is None else f"{100.0 * row.outside_engine:.1f} %",
    "batch": lambda row: _batch(row),
    "waste": lambda row: "" if row.computed_per_asked is None else f"{row.computed_per_asked:.2f}",
    "CPU s/s": lambda row: f"{row.cpu_per_audio_second:.2f}" if row.steps else "",
    "MiB": lambda row: f"{row.memory_bytes / 2**20:.0f}" if row.steps else "",
}
NAMES = 4
"""Columns that hold names, on the left; numbers stand on the right."""


def write_results(folder: Path, rows: Sequence[Row], options: BenchmarkOptions) -> str:
    """Write benchmark.json, benchmark.md and benchmark.png; return the Markdown.

    Args:
        folder: where to; made if missing.
        rows: what was measured.
        options: how it was measured.

    Raises:
        OSError: if a file cannot be written.

    """
    folder.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    settings = read_settings(options.repository, next(iter(options.ensembles)))
    how = (
        f"{options.schedule.rounds} interleaved rounds of at least {options.schedule.requests} requests a row, warmed "
        f"up; voice `{settings.voice.name}`, {settings.voice.generator.channels} channels, window {settings.window}, "
        f"F0 floor {settings.f0_floor:g} Hz. {', '.join(f'{key} {value}' for key, value in machine.items())}."
    )
    text = f"{how}\n\n{format_table(rows)}"
    content = {"machine": machine, "how": how, "rows": [row.as_dict() for row in rows]}
    for name, written in (("benchmark.json", json.dumps(content, indent=1)), ("benchmark.md", text)):
        with atomic_file(folder / name) as file:
            file.write(f"{written}\n".encode())
    draw_chart(folder / "benchmark.png", rows)
    return text


def format_table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown that lines up, with a legend; columns that are empty in all rows are left out."""
    cells = [[name, *(cell(row) for row in rows)] for name, cell in COLUMNS.items()]
    columns = []
    for place, (name, *texts) in enumerate(cells):
        if any(texts):
            width = max(map(len, (name, *texts)))
            align, rule = (str.ljust, "-" * width) if place < NAMES else (str.rjust, "-" * (width - 1) + ":")
            columns.append([align(name, width), rule, *(align(text, width) for text in texts)])
    lines = [f"| {' | '.join(line)} |" for line in zip(*columns, strict=True)]
    return "\n".join([*lines, "", LEGEND])


def _times(row: Row, part: str) -> str:
    step = row.parts.get(part)
    return "" if step is None else f"{step.queue_ms:.1f}+{step.compute_ms:.1f}"


def _batch(row: Row) -> str:
    engine = row.parts.get("engine")
    return "" if engine is None or engine.batch is None else f"{engine.batch:.2f}"


def draw_chart(path: Path, rows: Sequence[Row]) -> None:
    """Draw the rows into a PNG file, which appears whole or not at all.

    Raises:
        OSError: if the file cannot be written.

    """
    figure = Figure(figsize=(14.0, 1.6 + 0.32 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3, sharey=True)
    names = [f"{r.case.label} {r.case.workload.name} {r.case.protocol} {r.case.load}" for r in rows]
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
        for part, step in row.parts.items():
            axes.barh(place, step.queue_ms, left=left, color=colours[part], alpha=0.35)
            axes.barh(place, step.compute_ms, left=left + step.queue_ms, color=colours[part])
            left += step.queue_ms + step.compute_ms
    axes.legend(
        handles=[axes.barh(0, 0, color=colour) for colour in colours.values()], labels=list(colours), fontsize=8
    )
    axes.set_xlabel("mean ms in the server's steps (pale: queued)")


@dataclass(frozen=True)
class Section:
    """What stands between two marks, each of which occurs once."""

    document: Path
    begin: str
    end: str

    def around(self) -> tuple[str, str]:
        """Return what stands before and behind the marks.

        Raises:
            ValueError: if they are not there.

        """
        text = self.document.read_text(encoding="utf-8")
        if text.count(self.begin) != 1 or text.count(self.end) != 1 or text.index(self.begin) > text.index(self.end):
            raise ValueError(
                f"{self.document} lacks the marks {self.begin} and {self.end}: put them where the text is to stand"
            )
        return text.split(self.begin)[0], text.split(self.end)[1]

    def write(self, text: str) -> None:
        """Put a text between the marks."""
        before, after = self.around()
        with atomic_file(self.document) as file:
            file.write(f"{before}{self.begin}\n\n{text}\n\n{self.end}{after}".encode())

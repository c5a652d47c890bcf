"""Speed of the served vocoder: perf_analyzer over recordings, protocols and concurrencies, as a table."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sifigan_triton.client.step_statistics import step_order
from sifigan_triton.measure.perf_analyzer import PerfError, PerfResult, PerfSettings, Protocol, run

__all__ = ["PerfError", "PerfRow", "PerfSettings", "format_table", "measure", "seconds_per_request"]

logger = logging.getLogger(__name__)

FRAME_PERIOD_S = 0.005
"""Seconds a frame: 120 samples at 24 kHz."""


@dataclass(frozen=True)
class PerfRow:
    """One measurement and what was measured."""

    inputs: str
    """Name of the file with the requests, without its suffix."""
    protocol: Protocol
    concurrency: int
    audio_s: float
    """Seconds of audio that a request makes, on average over the file's entries."""
    result: PerfResult

    @property
    def audio_seconds_per_second(self) -> float:
        """Seconds of audio made in a second, all concurrent requests together."""
        return self.result.throughput * self.audio_s


def seconds_per_request(input_json: Path, frame_period_s: float = FRAME_PERIOD_S) -> float:
    """Return the seconds of audio that a request of a measurement file makes, on average over its entries.

    Args:
        input_json: requests in perf_analyzer's JSON format, whose `f0` is a flat list or an object with a `shape`.
        frame_period_s: seconds a frame.

    Raises:
        PerfError: naming the file and the entry, if it is no such file.

    """
    try:
        entries = json.loads(input_json.read_text(encoding="utf-8"))["data"]
    except FileNotFoundError:
        raise PerfError(
            f"{input_json} is missing: benchmarks/make_measurement_data.py writes the measurement data"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise PerfError(f"{input_json} is no measurement file, expected {{'data': [...]}}: {error!r}") from None
    if not isinstance(entries, list) or not entries:
        raise PerfError(f"{input_json} has no entries under 'data', expected at least one request")
    frames = [_frames(entry, f"{input_json}, entry {index}") for index, entry in enumerate(entries)]
    return sum(frames) / len(frames) * frame_period_s


def measure(
    server_http: str,
    server_grpc: str,
    inputs: Sequence[Path],
    *,
    model: str = "sifigan",
    concurrencies: Sequence[int] = (1, 2, 4),
    protocols: Sequence[Protocol] = ("http", "grpc"),
    settings: PerfSettings | None = None,
    frame_period_s: float = FRAME_PERIOD_S,
) -> list[PerfRow]:
    """Measure a model with every file over every protocol at every concurrency.

    Args:
        server_http: "host:port" of the HTTP API.
        server_grpc: "host:port" of the gRPC API.
        inputs: files of requests in perf_analyzer's JSON format.
        model: name of the model or ensemble.
        concurrencies: numbers of requests in flight.
        protocols: "http", "grpc" or both.
        settings: how long and how strictly to measure.
        frame_period_s: seconds a frame.

    Raises:
        PerfError: if a file cannot be used or perf_analyzer fails, with what it says.

    """
    seconds = {path: seconds_per_request(path, frame_period_s) for path in inputs}  # before anything runs
    urls = {"http": server_http, "grpc": server_grpc}
    rows = []
    for path, audio_s in seconds.items():
        for protocol in protocols:
            for concurrency in concurrencies:
                logger.info("measuring %s over %s at concurrency %d", path.name, protocol, concurrency)
                result = run(model, urls[protocol], protocol, path, concurrency, settings)
                rows.append(PerfRow(path.stem, protocol, concurrency, audio_s, result))
    return rows


def format_table(rows: Sequence[PerfRow]) -> str:
    """Return the rows as a plain-text table, with a note on rows that were not stable."""
    steps = sorted({step.model for row in rows for step in row.result.steps}, key=step_order)
    head = ["inputs", "audio s", "protocol", "conc", "req/s", "audio s/s", "avg ms", "p50", "p90", "p95", "p99"]
    cells = [[*head, *(f"{name} (queue+compute ms)" for name in steps)], *(_cells(row, steps) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    left = {0, 2}  # names stand on the left, numbers on the right
    lines = [
        "  ".join(
            text.ljust(width) if column in left else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    if not all(row.result.stable for row in rows):
        lines.append("~ not stable: windows differed by more than was allowed, the figures are those of three windows")
    return "\n".join(lines)


def _cells(row: PerfRow, steps: Sequence[str]) -> list[str]:
    """Return the cells of one row."""
    result = row.result
    times = {step.model: f"{step.queue_ms:.1f}+{step.compute_ms:.1f}" for step in result.steps}
    latencies = (result.avg_ms, result.p50_ms, result.p90_ms, result.p95_ms, result.p99_ms)
    return [
        row.inputs,
        f"{row.audio_s:.2f}",
        row.protocol,
        str(row.concurrency),
        f"{'' if result.stable else '~'}{result.throughput:.2f}",
        f"{row.audio_seconds_per_second:.2f}",
        *(f"{value:.1f}" for value in latencies),
        *(times.get(name, "") for name in steps),
    ]


def _frames(entry: Any, where: str) -> int:
    """Return the number of frames of one request."""
    f0 = entry.get("f0") if isinstance(entry, dict) else None
    if isinstance(f0, dict):
        shape = f0.get("shape")
        if isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int) and shape[0] > 0:
            return shape[0]
        raise PerfError(f"{where}: f0 has the shape {shape!r}, expected [frames]")
    if isinstance(f0, list) and f0:
        return len(f0)
    raise PerfError(f"{where}: no f0, expected {{'content': ..., 'shape': [frames]}} or a list of numbers")

"""One run of NVIDIA's `perf_analyzer`, the program inside the `tritonclient` wheel."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import logging
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sifigan_triton.server.triton_wheel import ServerError, TritonWheel

logger = logging.getLogger(__name__)

Protocol = Literal["http", "grpc"]

_UNSTABLE = 2
"""Exit status when the windows differ by more than the stability asked for; nothing is written then."""
_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
"""Libraries that perf_analyzer wants, and the names under which nvidia-pytriton's wheel holds them."""


class PerfError(RuntimeError):
    """A measurement could not be made."""


@dataclass(frozen=True)
class StepTime:
    """Mean times of one model in a request, in milliseconds."""

    model: str
    queue_ms: float
    compute_ms: float
    """Decoding of inputs, inference and encoding of outputs together."""


@dataclass(frozen=True)
class PerfResult:
    """What one run measured; latencies are those that the client sees, in milliseconds."""

    throughput: float
    """Requests a second."""
    avg_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    stable: bool
    """Whether three windows in a row agreed within the stability asked for."""
    steps: tuple[StepTime, ...]
    """The models that an ensemble is composed of, by name; empty for a single model."""


@dataclass(frozen=True)
class PerfSettings:
    """How long and how strictly to measure; a run takes between 3 and `windows` + 3 windows."""

    requests: int = 10
    """Requests in a window, at least."""
    windows: int = 5
    """Windows after which an unstable measurement is made once more, for 3 windows, and marked as unstable."""
    stability_percent: float = 25.0
    """How far the p95 latency and the throughput of three windows in a row may differ."""
    timeout_s: float = 600.0
    """When a run is given up."""


def run(
    model: str,
    url: str,
    protocol: Protocol,
    input_json: Path,
    concurrency: int,
    settings: PerfSettings | None = None,
) -> PerfResult:
    """Measure a model under a constant number of concurrent requests.

    Args:
        model: name of the model or ensemble.
        url: "host:port" of the API that `protocol` names.
        protocol: "http" or "grpc".
        input_json: requests in perf_analyzer's JSON format, taken in turn.
        concurrency: requests in flight.
        settings: how long and how strictly to measure.

    Raises:
        PerfError: if the input file or the program is missing, or with what the program says.

    """
    settings = settings or PerfSettings()
    if not input_json.is_file():
        raise PerfError(f"{input_json} is no file: benchmarks/make_measurement_data.py writes the measurement data")
    target = ["-m", model, "-u", url, "-i", protocol, "--input-data", str(input_json.resolve())]
    load = ["--concurrency-range", str(concurrency), "--percentile", "95"]
    window = ["--measurement-mode", "count_windows", "--measurement-request-count", str(settings.requests)]
    with tempfile.TemporaryDirectory(prefix="sifigan-triton-perf-") as name:
        directory = Path(name)
        command = [str(find_binary()), *target, *load, *window, "-f", "report.csv", "--verbose-csv"]
        environment = _environment(directory)
        for stable, limits in (
            (True, ["-s", f"{settings.stability_percent:g}", "-r", str(settings.windows)]),
            (False, ["-s", "999", "-r", "3"]),
        ):
            status, output = _execute([*command, *limits], directory, environment, settings.timeout_s)
            if status == 0:
                return _read_report(directory, stable)
            if status != _UNSTABLE:
                break
            logger.info("%s over %s at concurrency %d is not stable yet", input_json.name, protocol, concurrency)
    raise PerfError(
        f"perf_analyzer on {model} at {url} ({protocol}, {input_json.name}) failed (exit status {status}): {output}"
    )


def send(
    model: str,
    url: str,
    protocol: Protocol,
    input_json: Path,
    concurrency: int,
    requests: int,
    timeout_s: float = 600.0,
) -> list[tuple[float, float]]:
    """Send a fixed number of requests, a constant number of them in flight, and return the times of each.

    Args:
        model: name of the model or ensemble.
        url: "host:port" of the API that `protocol` names.
        protocol: "http" or "grpc".
        input_json: requests in perf_analyzer's JSON format, taken in turn.
        concurrency: requests in flight.
        requests: requests in all.
        timeout_s: when it is given up.

    Returns:
        When each request was sent and answered, in seconds by one clock.

    Raises:
        PerfError: if the program is missing, or with what it says.

    """
    with tempfile.TemporaryDirectory(prefix="sifigan-triton-perf-") as name:
        directory = Path(name)
        target = ["-m", model, "-u", url, "-i", protocol, "--input-data", str(input_json.resolve())]
        load = ["--concurrency-range", str(concurrency), "--request-count", str(requests)]
        command = [str(find_binary()), *target, *load, "--profile-export-file", "times.json"]
        status, output = _execute(command, directory, _environment(directory), timeout_s)
        if status:
            raise PerfError(
                f"perf_analyzer on {model} at {url} ({protocol}, {input_json.name}) failed (exit status {status}): "
                f"{output}"
            )
        (experiment,) = json.loads((directory / "times.json").read_text(encoding="utf-8"))["experiments"]
    return [(each["timestamp"] / 1e9, each["response_timestamps"][-1] / 1e9) for each in experiment["requests"]]


def find_binary() -> Path:
    """Find perf_analyzer among the files of the installed `tritonclient` wheel.

    Raises:
        PerfError: if it is not there.

    """
    try:
        files = importlib.metadata.files("tritonclient") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if file.name == "perf_analyzer" and path.exists():
            return path.resolve()
    raise PerfError(
        "perf_analyzer is missing: the Linux x86_64 wheel of tritonclient 2.50.0 holds it, `make` installs it"
    )


def _environment(directory: Path) -> dict[str, str]:
    """Return an environment in which perf_analyzer finds its libraries, as links in `directory`/lib."""
    try:
        folder = TritonWheel.find().libraries
    except ServerError as error:
        raise PerfError(f"perf_analyzer needs two libraries of nvidia-pytriton: {error}") from None
    links = directory / "lib"
    links.mkdir()
    for name, pattern in _LIBRARIES.items():
        found = sorted(folder.glob(pattern))
        if not found:
            raise PerfError(f"perf_analyzer needs {name}: expected {pattern} in {folder}; nvidia-pytriton 0.7.0 has it")
        (links / name).symlink_to(found[0])
    paths = [str(links), os.environ.get("LD_LIBRARY_PATH", "")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, paths))}


def _execute(command: list[str], directory: Path, environment: dict[str, str], timeout_s: float) -> tuple[int, str]:
    """Run a command in `directory`; return its exit status and the end of what it said."""
    try:
        done = subprocess.run(
            command, cwd=directory, env=environment, timeout=timeout_s, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        raise PerfError(
            f"perf_analyzer did not end within {timeout_s:g} s: fewer requests a window, or a longer timeout_s"
        ) from None
    said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return done.returncode, "\n".join(said[-5:])


def _read_report(directory: Path, stable: bool) -> PerfResult:
    """Read the CSV report, in microseconds, and those of the composing models beside it."""
    row = _read_row(directory / "report.csv")
    steps = []
    for path in sorted(directory.glob("*.report.csv")):  # <model>_v<version>.report.csv
        step = _read_row(path)
        compute = sum(step[f"Server Compute {part}"] for part in ("Input", "Infer", "Output"))
        model = path.name.removesuffix(".report.csv").rpartition("_v")[0]
        steps.append(StepTime(model, step["Server Queue"] / 1e3, compute / 1e3))
    return PerfResult(
        throughput=row["Inferences/Second"],
        avg_ms=(row["request/response"] + row["response wait"]) / 1e3,
        p50_ms=row["p50 latency"] / 1e3,
        p90_ms=row["p90 latency"] / 1e3,
        p95_ms=row["p95 latency"] / 1e3,
        p99_ms=row["p99 latency"] / 1e3,
        stable=stable,
        steps=tuple(steps),
    )


def _read_row(path: Path) -> dict[str, float]:
    """Read the one row of a report."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != 1:
        raise PerfError(f"perf_analyzer's report {path.name} has {len(rows)} rows, expected 1")
    return {name: float(value) for name, value in rows[0].items() if value}

"""Load from NVIDIA's `perf_analyzer`, the program inside the `tritonclient` wheel."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from sifigan_triton.server.triton_wheel import ServerError, TritonWheel

Protocol = Literal["http", "grpc"]

_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
"""Libraries that perf_analyzer wants, and the names under which nvidia-pytriton's wheel holds them."""


class PerfError(RuntimeError):
    """A measurement could not be made."""


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
        status, output = _execute(command, directory, perf_environment(directory), timeout_s)
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


def perf_environment(directory: Path) -> dict[str, str]:
    """Return an environment in which perf_analyzer finds its libraries, as links in `directory`/lib.

    Raises:
        PerfError: if a library is missing.

    """
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
            f"perf_analyzer did not end within {timeout_s:g} s: fewer requests a round, or a longer timeout_s"
        ) from None
    said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return done.returncode, "\n".join(said[-5:])

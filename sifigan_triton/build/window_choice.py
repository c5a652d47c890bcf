"""The window of the static engines, chosen by timing a handful of them on this machine (`--window auto`)."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from preprocess import preprocess
from preprocess.f0 import LOWEST_FLOOR_HZ, lowest_f0
from sifigan_triton.build.engine_builder import TIMING_CACHE, EngineMaker
from sifigan_triton.build.options import BuildError, BuildOptions
from sifigan_triton.features.requests import Request, read_request_files
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.repository.engine_kinds import EngineKind
from sifigan_triton.repository.model_config import window_tensors
from sifigan_triton.repository.runtimes import Engine, load_engine
from sifigan_triton.voice.folder import load_voice

logger = logging.getLogger(__name__)

Frames = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]

WINDOWS = (64, 128, 256, 512)
"""Frames of the windows that are tried, beside an equal part of the longest request. A choice of these costs 1 to 4 %
more than the best of all windows from 64 to 1024 (`benchmarks.window_choice`): no more than times vary."""
LARGEST = 1024
"""Frames of the largest window: above it next to nothing is gained, and memory and the time of a window grow."""
TOLERANCE = 0.01
"""Windows that cost this share more than the cheapest one count as equal to it; the smallest of equals is chosen."""
BATCHES = {"trt": (1, 4, 16), "openvino": (1,)}
"""Windows in the calls that are timed: OpenVINO's engine computes windows one by one, so that one tells all."""
FEWEST_ROUNDS, MOST_ROUNDS, ENOUGH_S = 5, 25, 30.0


def auto_window(options: BuildOptions, lengths: Sequence[Path]) -> int:
    """Choose the window that costs least time for given requests, by measuring engines on this machine.

    Args:
        options: what is to be built; its window is not looked at.
        lengths: files of requests, each of which is as likely as any other.

    Raises:
        VoiceError: if the voice cannot be read.
        BuildError: if an option does not fit, or no static engine is to be built.
        ValueError: naming the file that cannot be used.

    """
    options.check()
    kind = engine_to_time(options)
    spec = EngineSpec(*load_voice(options.voice), f0_floor=options.f0_floor, max_batch_size=options.max_batch_size)
    requests = read_request_files(lengths, spec.voice)
    frames = np.array([request.f0.size for request in requests], np.int64)
    _warn_of_refused(requests, options.f0_floor)
    windows = windows_to_try(int(frames.max()), options.max_batch_size)
    longest = requests[int(frames.argmax())]
    batches = tuple(batch for batch in BATCHES[kind.runtime] if batch <= options.max_batch_size)
    with tempfile.TemporaryDirectory() as scratch:
        trials = []
        for window in windows:
            logger.info("--window auto: making %s of %d frames ...", kind.name, window)
            trials.append(_make_trial(options, kind, replace(spec, window=window), longest, batches, Path(scratch)))
        logger.info("--window auto: timing %d engines in turn ...", len(trials))
        seconds = time_trials(trials)
    costs = np.array([request_seconds(*each, batches, frames).sum() for each in zip(windows, seconds, strict=True)])
    chosen = choose(windows, costs)
    audio_s = spec.settings.seconds(int(frames.sum()))
    logger.info("%s, %d requests of %d to %d frames:", kind.name, frames.size, frames.min(), frames.max())
    logger.info("%s", format_table(windows, 1e3 * costs / audio_s, 1e3 * seconds[:, 0], frames))
    logger.info("chosen: --window %d, which builds the same again without measuring", chosen)
    return chosen


def engine_to_time(options: BuildOptions) -> EngineKind:
    """Return the engine behind `sifigan` or, if that one takes any length, the last static one.

    Raises:
        BuildError: if no static engine is to be built.

    """
    static = [kind for kind in (*options.engines, options.default) if kind.static]
    if not static:
        raise BuildError(
            f"--window auto is for static engines, got {', '.join(kind.name for kind in options.engines)}, which "
            "take any length: leave it out, or add --engine openvino-fp32"
        )
    return static[-1]


def _warn_of_refused(requests: Sequence[Request], f0_floor: float) -> None:
    """Point out requests that an engine of this floor refuses; their lengths count all the same."""
    lowest = np.array([np.min(request.f0, where=request.f0 > 0.0, initial=np.inf) for request in requests])
    refused = int(np.count_nonzero(lowest < lowest_f0(f0_floor)))
    if refused:
        logger.warning(
            "%d of %d requests have F0 below the floor of %g Hz, down to %.1f Hz, and will be refused: build with "
            "--f0-floor %g",
            refused,
            lowest.size,
            f0_floor,
            lowest.min(),
            max(np.floor(lowest.min()), LOWEST_FLOOR_HZ),
        )


def windows_to_try(longest: int, max_batch_size: int) -> list[int]:
    """Return `WINDOWS` and the largest equal part of the longest request, but for those that do not take that request.

    Raises:
        ValueError: if no window takes the longest request, with the fix.

    """
    parts = -(-longest // LARGEST)
    if parts > max_batch_size:
        raise ValueError(
            f"the longest request has {longest} frames, expected at most {LARGEST * max_batch_size} ({max_batch_size} "
            f"windows of {LARGEST}): build with --max-batch {parts}, or leave it out of --lengths"
        )
    largest = max(WINDOWS[0], -(-longest // parts))
    return [*(window for window in WINDOWS if window < largest and window * max_batch_size >= longest), largest]


@dataclass(frozen=True, eq=False)
class Trial:
    """An engine that is made to be timed, and the calls that are timed."""

    engine: Engine
    calls: tuple[dict[str, npt.NDArray[np.generic]], ...]
    """Tensors of each call, by name."""
    repeats: int
    """Calls in a row: a round computes about as many frames with each engine, or small windows would seem slower."""

    def run(self) -> list[float]:
        """Return the seconds of each call: the mean of some in a row, behind one that warms up the caches."""
        seconds = []
        for call in self.calls:
            self.engine.run(call)
            started = time.perf_counter()
            for _ in range(self.repeats):
                self.engine.run(call)
            seconds.append((time.perf_counter() - started) / self.repeats)
        return seconds


def _make_trial(
    options: BuildOptions, kind: EngineKind, spec: EngineSpec, request: Request, batches: Sequence[int], scratch: Path
) -> Trial:
    """Make the engine of one window, as the build does, and load it, as the server does."""
    folder = scratch / str(spec.window)
    folder.mkdir()
    keep = options.keep_fp32 if kind.precision == "fp16" and not isinstance(options.keep_fp32, str) else ()
    EngineMaker(spec, folder, options.output.resolve().parent / TIMING_CACHE).make(kind, folder, keep)
    inputs = {tensor.name: list(tensor.dims) for tensor in window_tensors(spec.settings)}
    engine = load_engine(kind.runtime, folder, kind.precision, inputs)
    raised = request.raised_to(spec.f0_floor)
    cut = vars(preprocess(raised.f0, raised.mcep, raised.bap, spec.settings, repair=np.array([True])))
    picks = [np.arange(batch) % len(cut["bounds"]) for batch in batches]  # its windows, again and again
    calls = tuple({name: cut[name][pick] for name in inputs} for pick in picks)
    return Trial(engine, calls, max(1, LARGEST // spec.window))


def time_trials(trials: Sequence[Trial]) -> Seconds:
    """Time engines in turn, round after round.

    Returns:
        float64 (trials, batches): the lower quartile over the rounds, as what else runs on the machine only ever adds.

    """
    rounds: list[list[list[float]]] = []
    started = time.monotonic()
    while len(rounds) < MOST_ROUNDS and (len(rounds) < FEWEST_ROUNDS or time.monotonic() - started < ENOUGH_S):
        rounds.append([trial.run() for trial in trials])
    quartile: Seconds = np.quantile(rounds, 0.25, axis=0)
    if float((np.median(rounds, axis=0) / quartile).max()) > 1.1:
        logger.warning("something else keeps this machine busy: choose the window again when it is quiet")
    return quartile


def request_seconds(window: int, seconds: Seconds, batches: Sequence[int], frames: Frames) -> Seconds:
    """Return what requests of so many frames take, float64 (R,).

    It is linear between the batches that were timed, whose `seconds` are float64 (batches,), and in proportion beyond.
    """
    counts = -(-frames // window)
    inside = np.minimum(counts, batches[-1])
    return np.asarray(np.interp(inside, batches, seconds) * counts / inside)


def choose(windows: Sequence[int], costs: Seconds) -> int:
    """Return the smallest window that costs no more than the cheapest one, but for the tolerance."""
    return min(window for window, cost in zip(windows, costs, strict=True) if cost <= costs.min() * (1.0 + TOLERANCE))


def format_table(windows: Sequence[int], costs_ms: Seconds, window_ms: Seconds, frames: Frames) -> str:
    """Return a line for each window; padding is the share of the computed frames that nobody asked for."""
    lines = [f"{'window':>8}{'ms for 1 s of audio':>22}{'padding':>10}{'one window, ms':>17}"]
    for window, cost, one in zip(windows, costs_ms, window_ms, strict=True):
        padding = 1.0 - frames.sum() / (np.ceil(frames / window).sum() * window)
        lines.append(f"{window:>8}{cost:>22.1f}{padding:>10.1%}{one:>17.1f}")
    return "\n".join(lines)

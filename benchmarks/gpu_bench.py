"""What the GPU measurements share: the request, its reference on the CPU, candidates, and how they are timed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from preprocess import condition, preprocess
from preprocess.windows import Windows
from sifigan_triton.features.requests import read_requests
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.voice.folder import load_voice, random_voice

DATA = Path(__file__).parent.parent / "measurement_data" / "frames-627.json"
INPUTS = ("excitation", "features", "offsets", "bounds")
WARM_UP = 3
"""Rounds that are not counted, at most as many as are."""
Array = npt.NDArray[np.float32]
Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Candidate:
    """One way to compute, ready to run."""

    runtime: str
    model: str
    precision: str
    batch: int
    frames: int
    """Frames of output that a run yields."""
    run: Run
    waveform: Callable[[], Array]
    """Runs the whole request; float32 (T * hop_size,)."""


@dataclass(frozen=True)
class Row:
    """What was measured of one candidate."""

    runtime: str
    model: str
    precision: str
    batch: int
    frames: int
    median_ms: float
    spread_ms: float
    """Difference of the quartiles."""
    audio_seconds_per_second: float
    snr_db: float


class Bench:
    """The request, the reference and the models that the candidates are made of."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Compute the reference on the CPU."""
        self.device = torch.device(args.device)
        self.voice, self.generator = load_voice(args.voice) if args.voice else random_voice(channels=args.channels)
        request = read_requests(DATA)[0]
        self.frames = int(request.f0.size)
        largest = max(*args.batches, -(-self.frames // args.window))
        self.spec = EngineSpec(self.voice, self.generator, args.window, args.f0_floor, largest)
        self.settings = self.spec.settings
        inputs = condition(request.f0, request.mcep, request.bap, self.voice)
        self.full = [torch.from_numpy(values)[None] for values in inputs]
        self.windows: Windows = preprocess(request.f0, request.mcep, request.bap, self.settings)
        self.reference = self.generator(*self.full)[0, 0].numpy()

    def batch(self, count: int) -> list[Tensor]:
        """Return `count` windows, those of the request over and over, on the device."""
        tensors = [torch.from_numpy(getattr(self.windows, name).copy()) for name in INPUTS]
        return [x[torch.arange(count) % len(x)].to(self.device) for x in tensors]

    def join(self, windows: Tensor) -> Array:
        """Return the request's waveform from its windows."""
        joined: Array = windows.float().cpu().numpy().reshape(-1)[: self.reference.size]
        return joined


def seconds(run: Run, device: torch.device) -> float:
    """Return the time of one run, by the GPU's own clock where there is one."""
    if device.type == "cpu":
        started = time.perf_counter()
        run()
        return time.perf_counter() - started
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def snr_db(reference: Array, test: Array) -> float:
    """Return the signal-to-noise ratio in dB; NaN if `test` is not finite.

    That of `sifigan_triton.quality` needs the packages of all metrics, which a machine that is lent for its GPU lacks.
    """
    signal = reference.astype(np.float64)
    with np.errstate(divide="ignore"):  # the reference itself scores infinity
        return float(10.0 * np.log10(np.sum(signal**2) / np.sum((signal - test) ** 2)))


def measure(candidates: list[Candidate], bench: Bench, rounds: int) -> list[Row]:
    """Run the candidates in turn, `rounds` times; the first rounds warm up."""
    times: list[list[float]] = [[] for _ in candidates]
    warm_up = min(WARM_UP, rounds)
    for number in range(rounds + warm_up):
        for candidate, taken in zip(candidates, times, strict=True):
            one = seconds(candidate.run, bench.device)
            if number >= warm_up:
                taken.append(one)
    rows = []
    for candidate, taken in zip(candidates, times, strict=True):
        low, middle, high = np.quantile(taken, [0.25, 0.5, 0.75])
        audio_s = candidate.frames * bench.voice.hop_size / bench.voice.sample_rate
        snr = snr_db(bench.reference, candidate.waveform())
        what = (candidate.runtime, candidate.model, candidate.precision, candidate.batch, candidate.frames)
        rows.append(Row(*what, middle * 1e3, (high - low) * 1e3, audio_s / middle, snr))
    return rows

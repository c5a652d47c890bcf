"""Tables: what windows of several sizes cost against one size, for single lengths and for mixes of lengths.

    python -m benchmarks.windows [--voice voices/random] [--rounds 2] [--single 256 320] [--exact 50 100 ...]

The engine alone, full windows of real features. `default` is what the build makes (512, 256, 128 and 64 frames behind
one model), `512 alone` its largest window without the others, `best single` the cheapest of all single windows for the
whole mix, and `exact` a window made for exactly that length. Everything is interleaved: each request goes through every
engine before the next one comes. Medians over the rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tracks import recordings
from preprocess import preprocess
from sifigan_triton.build.engine_builder import EngineMaker
from sifigan_triton.features.requests import Request
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.export import export_cpu_onnx
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.model_config import engine_output, window_tensors
from sifigan_triton.repository.runtimes import load_engine
from sifigan_triton.repository.runtimes.openvino_runtime import Engine as OpenVino
from sifigan_triton.repository.runtimes.sized_engine import SizedEngine, window_sizes
from sifigan_triton.voice.folder import load_voice

KIND = ENGINES["openvino-fp32"]
LENGTHS = (20, 50, 100, 200, 400, 627, 1000, 2440)
SHORTEST, LONGEST, DRAWN = 20, 2400, 200
"""Frames (0.1 to 12 s), and how many lengths are drawn of these, log-uniformly."""


class SingleSize(OpenVino):
    """OpenVINO with the largest window alone."""

    sized = False


class Candidate:
    """An engine and the windows that its first step cuts."""

    def __init__(self, spec: EngineSpec, folder: Path, sized: bool) -> None:
        """Load an engine that has been made in a folder."""
        self._settings = spec.settings
        self._inputs = {tensor.name: list(tensor.dims) for tensor in window_tensors(self._settings)}
        samples = engine_output(self._settings).dims[-1]
        self._engine = (
            load_engine(KIND.runtime, folder, KIND.precision, self._inputs, samples)
            if sized
            else SizedEngine(SingleSize, folder, KIND.precision, self._inputs, samples)
        )

    def seconds(self, request: Request) -> float:
        """Return how long the engine takes for a request."""
        windows = vars(preprocess(request.f0, request.mcep, request.bap, self._settings))
        windows = {name: windows[name] for name in self._inputs}
        started = time.perf_counter()
        self._engine.run(windows)
        return time.perf_counter() - started


def make_candidates(voice: Path, single: list[int], exact: list[int], folder: Path) -> dict[str, Candidate]:
    """Make and load all engines."""
    spec = EngineSpec(*load_voice(voice))
    default = folder / "default"
    default.mkdir()
    EngineMaker(spec, folder).make(KIND, default)
    made = {"default": Candidate(spec, default, sized=True)}
    for window in dict.fromkeys([spec.window, *single, *exact]):
        place = default if window == spec.window else folder / str(window)
        if window in window_sizes(spec.window)[1:]:
            place = default / str(window)
        its = replace(spec, window=window)
        if not place.is_dir():
            place.mkdir()
            export_cpu_onnx(its, place / KIND.file, KIND.precision)
        made[str(window)] = Candidate(its, place, sized=False)
    return made


def measure(
    candidates: dict[str, Candidate], rounds: int, frames: list[int], single: list[int]
) -> np.ndarray[Any, Any]:
    """Return seconds, float64 (rounds, requests, candidates); NaN where a window is only for its own length."""
    sung, names = recordings(), list(candidates)
    seconds = np.full((rounds, len(frames), len(names)), np.nan)
    for number in range(rounds):
        for place, length in enumerate(frames):
            for column, name in enumerate(names):
                if name == "default" or int(name) in single or int(name) == length:
                    seconds[number, place, column] = candidates[name].seconds(sung.first(length))
    return seconds


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, default=Path("voices/random"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--single", type=int, nargs="*", default=[256, 320])
    parser.add_argument("--exact", type=int, nargs="*", default=[50, 100, 200, 400, 627, 1000])
    parser.add_argument("--drawn", type=int, default=DRAWN, help="lengths of the mix")
    args = parser.parse_args()
    drawn = np.exp(np.random.default_rng(0).uniform(np.log(SHORTEST), np.log(LONGEST), args.drawn)).round()
    frames = [*LENGTHS, *drawn.astype(int).tolist()]
    with tempfile.TemporaryDirectory() as folder:
        candidates = make_candidates(args.voice, args.single, args.exact, Path(folder))
        largest = str(EngineSpec.window)
        for candidate in candidates.values():
            candidate.seconds(recordings().first(100))  # the first call of an engine is slow
        seconds = measure(candidates, args.rounds, frames, [int(largest), *args.single])
    names = list(candidates)
    default, alone = seconds[:, :, 0], seconds[:, :, names.index(largest)]
    print(f"| frames | default, ms | default / {largest} alone | default / exact |\n| ---: | ---: | ---: | ---: |")
    for place, length in enumerate(LENGTHS):
        exact = (
            np.nan
            if str(length) not in names
            else np.nanmedian(default[:, place] / seconds[:, place, names.index(str(length))])
        )
        ratio = np.median(default[:, place] / alone[:, place])
        print(f"| {length:,} | {1e3 * np.median(default[:, place]):.0f} | {ratio:.2f} | {exact:.2f} |")
    if not args.drawn:
        return
    mix = np.median(seconds[:, len(LENGTHS) :].sum(1), axis=0)
    print(f"\n| {args.drawn} lengths | ms for one request | against {largest} alone |\n| --- | ---: | ---: |")
    for name, total in zip(names, mix, strict=True):
        if np.isfinite(total):
            print(f"| {name} | {1e3 * total / args.drawn:.0f} | {total / mix[names.index(largest)]:.3f} |")


if __name__ == "__main__":
    main()

"""Is the chosen window the right one? Whole requests at every window that could be best, against `--window auto`.

    python -m benchmarks.window_choice [--voice voices/random] [--rounds 3] [--cpu-time]

The window is chosen for the long recording, as `build_engines.py --window auto --lengths measurement_data/long.json`
does. Then engines of every window that could be best, and of those that were measured, compute that recording in turn,
round after round: of the windows that need the same number of calls the smallest is the cheapest, so that only equal
parts of the recording can be best. The last table is of two engines behind one ensemble, by the same measured times.
`--cpu-time` counts seconds of the process instead of the clock's, for a machine that others use (on one core, with
`taskset -c 1`).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.tracks import DATA
from benchmarks.window_pairs import print_pairs
from sifigan_triton.build.options import GATE_DATA, BuildOptions
from sifigan_triton.build.window_choice.choice import Use, choose, rate, windows_to_measure
from sifigan_triton.build.window_choice.distribution import Distribution, read_distribution
from sifigan_triton.build.window_choice.engine_times import EngineTimes
from sifigan_triton.build.window_choice.timing import time_engines
from sifigan_triton.build.window_choice.trial_engine import TrialEngine, TrialMaker
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.voice.folder import load_voice

MOST_PARTS = 6
"""Of the smaller windows, only those are tried that are measured anyway."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, default=Path("voices/demo"))
    parser.add_argument("--engine", choices=[name for name, kind in ENGINES.items() if kind.static])
    parser.add_argument("--f0-floor", type=float, default=BuildOptions.f0_floor)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true")
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    kind = ENGINES[args.engine or "openvino-fp32"]
    options = BuildOptions(args.voice, Path("build/models"), (kind,), f0_floor=args.f0_floor)
    voice, generator = load_voice(args.voice)
    recording = read_distribution([DATA / "long.json"], voice)
    use = Use(voice, recording.lengths, options.max_batch_size, joins_requests=kind.runtime == "trt")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        maker = TrialMaker(options, kind, voice, generator, Path(scratch), _say)
        engines = _make(maker, windows_to_try(use))
        measured = [engine for engine in engines if engine.settings.window in windows_to_measure(use.candidates())]
        times = time_engines(measured, recording, _say, clock)
        chosen = choose([rate(use, times, window, args.f0_floor) for window in use.candidates()]).window
        _say(f"chosen for the recording: {chosen} frames; the whole recording at every window ...")
        if chosen not in [engine.settings.window for engine in engines]:
            engines += _make(maker, [chosen])
        engines.sort(key=lambda engine: engine.settings.window)
        seconds = time_requests(engines, recording, args.rounds, clock)
    print_trial(seconds, engines, use, times, chosen)
    print_pairs(voice, times, options.max_batch_size, read_distribution(GATE_DATA, voice).lengths)
    print(f"\n{time.monotonic() - started:.0f} s in all")


def _say(line: str) -> None:
    print(line, flush=True)


def windows_to_try(use: Use) -> list[int]:
    """Return the windows that are measured for the choice, and the equal parts of the recording."""
    longest = int(use.lengths.max())
    return sorted(
        {*windows_to_measure(use.candidates()), *(-(-longest // parts) for parts in range(1, MOST_PARTS + 1))}
    )


def _make(maker: TrialMaker, windows: Sequence[int]) -> list[TrialEngine]:
    engines = []
    for window in windows:
        _say(f"making {maker.kind.name} of {window} frames ...")
        engines.append(maker.make(window))
    return engines


def time_requests(
    engines: Sequence[TrialEngine], recording: Distribution, rounds: int, clock: Callable[[], float]
) -> npt.NDArray[np.float64]:
    """Return the seconds of the whole recording, float64 (rounds, engines), after a round to warm up."""
    (frames,) = recording.lengths
    windows = [recording.windows(each.settings, -(-frames // each.settings.window)) for each in engines]
    seconds = np.empty((rounds + 1, len(engines)))
    for number in range(rounds + 1):
        for index, engine in enumerate(engines):
            began = clock()
            engine.run(windows[index])
            seconds[number, index] = clock() - began
    return seconds[1:]


def print_trial(
    seconds: npt.NDArray[np.float64], engines: Sequence[TrialEngine], use: Use, times: EngineTimes, chosen: int
) -> None:
    """Print what the recording took at every window beside what was expected of it, and how good the choice is."""
    per_second = 1e3 / (float(use.lengths.sum()) * use.voice.frame_period_ms / 1e3)
    print(
        "\n| window | windows | measured, ms for 1 s of audio | lowest | expected | expected / measured | of the best |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    medians, lowest = np.median(seconds, axis=0), seconds.min(axis=0)
    best = int(np.argmin(medians))
    for index, engine in enumerate(engines):
        window = engine.settings.window
        expected = rate(use, times, window, times.f0_floor).cost_ms
        measured = medians[index] * per_second
        name = f"**{window}**, chosen" if window == chosen else f"{window}"
        print(
            f"| {name} | {-(-use.lengths.max() // window)} | {measured:.1f} | {lowest[index] * per_second:.1f} | "
            f"{expected:.1f} | {expected / measured:.2f} | {medians[index] / medians[best]:.3f} |"
        )
    index = [engine.settings.window for engine in engines].index(chosen)
    ratios, by_lowest = seconds[:, index] / seconds[:, best], lowest[index] / lowest.min()
    print(
        f"\nchosen {chosen}, best {engines[best].settings.window}: {medians[index] / medians[best]:.3f} of its cost "
        f"({ratios.min():.3f} to {ratios.max():.3f} over the rounds; by the lowest times {by_lowest:.3f})"
    )


if __name__ == "__main__":
    main()

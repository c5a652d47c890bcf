"""Does a handful of windows do? The best of those that `--window auto` tries against the best of all, by arithmetic.

    python -m benchmarks.window_choice [--voice voices/random] [--f0-floor 70] [--times 20.7 31.1 51.9 95.4 188.9]

The time of a window is taken to follow its multiply-adds; with `--times` it follows measured milliseconds of windows of
64, 128, 256, 512 and 1024 frames, and the multiply-adds between them. The last column is of two windows of the handful
behind one model, each request split as is cheapest.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from preprocess import Voice
from sifigan_triton.build.options import GATE_DATA
from sifigan_triton.build.window_choice import LARGEST, WINDOWS, windows_to_try
from sifigan_triton.features.requests import read_request_files
from sifigan_triton.network.crop_plan import crop_plan
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.stage_costs import stage_costs
from sifigan_triton.voice.folder import load_voice

Lengths = npt.NDArray[np.int64]
Costs = dict[int, float]
FRAMES_A_SECOND = 200


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, default=Path("voices/demo"))
    parser.add_argument("--f0-floor", type=float, default=EngineSpec.f0_floor)
    parser.add_argument("--times", type=float, nargs=5, metavar="MS")
    args = parser.parse_args()
    voice, _ = load_voice(args.voice)
    times = window_times(voice, args.f0_floor, args.times)
    print(
        "| lengths | best of all | best of the handful | its cost, best = 1 | default's, 512 | best pair | its cost |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, lengths in mixes(voice).items():
        costs = {window: time * float(np.ceil(lengths / window).sum()) for window, time in times.items()}
        handful = windows_to_try(int(lengths.max()), EngineSpec.max_batch_size)
        best, found = min(costs, key=costs.__getitem__), min(handful, key=costs.__getitem__)
        pairs = {(a, b): pair_cost(times, a, b, lengths) for a in handful for b in handful if b < a}
        pair = min(pairs, key=pairs.__getitem__)
        ours, default, split = (f"{cost / costs[best]:.3f}" for cost in (costs[found], costs[512], pairs[pair]))
        print(f"| {name} | {best} | {found} | {ours} | {default} | {pair[0]} + {pair[1]} | {split} |")


def window_times(voice: Voice, f0_floor: float, measured_ms: Sequence[float] | None) -> Costs:
    """Return what a window takes, by its frames, for every window from the smallest to the largest that is tried."""
    windows = range(WINDOWS[0], LARGEST + 1)
    macs = {w: sum(cost.macs for cost in stage_costs(voice, crop_plan(voice, w, f0_floor))) for w in windows}
    known = (*WINDOWS, LARGEST)
    times = [float(macs[window]) for window in known] if measured_ms is None else measured_ms
    return {w: float(np.interp(macs[w], [macs[window] for window in known], times)) for w in windows}


def mixes(voice: Voice) -> dict[str, Lengths]:
    """Return lengths of requests in frames: the shipped ones, each shipped length alone, and seeded mixes."""
    shipped = np.array([request.f0.size for request in read_request_files(GATE_DATA, voice)], np.int64)
    random = np.random.default_rng(0)
    alone = {
        f"{frames} frames alone": np.array([frames], np.int64) for frames in sorted(shipped) if frames > WINDOWS[0]
    }

    def between(low_s: float, high_s: float, evenly: bool = False) -> Lengths:
        low, high = low_s * FRAMES_A_SECOND, high_s * FRAMES_A_SECOND
        drawn = random.uniform(low, high, 500) if evenly else np.exp(random.uniform(np.log(low), np.log(high), 500))
        return drawn.astype(np.int64)

    return {
        "measurement_data": shipped,
        **alone,
        "0.1 to 12 s, log-uniform": between(0.1, 12.0),
        "0.3 to 10 s, log-uniform": between(0.3, 10.0),
        "0.3 to 10 s, uniform": between(0.3, 10.0, evenly=True),
        "0.1 to 2 s, log-uniform": between(0.1, 2.0),
        "5 to 60 s, log-uniform": between(5.0, 60.0),
    }


def pair_cost(times: Costs, large: int, small: int, lengths: Lengths) -> float:
    """Return the time of all requests, each split into large and small windows as is cheapest."""
    larges = np.arange(-(-int(lengths.max()) // large) + 1)[:, None]
    smalls = np.ceil(np.maximum(lengths[None] - larges * large, 0) / small)
    return float((larges * times[large] + smalls * times[small]).min(axis=0).sum())


if __name__ == "__main__":
    main()

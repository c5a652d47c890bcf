"""What a bound on the delay of a stream of features costs: its audio against the exact one, on a served voice.

    python -m benchmarks.lookahead --model-repository models [--frames 1000] [--piece 4]

The recordings' features are pushed in pieces of `--piece` frames. Printed are, for `max_lookahead_frames` of 8 to 128
and for exact audio: the signal-to-noise ratio against one call for the whole, the 10th percentile
of that ratio in pieces of 100 ms, and how many frames waited at most and on average behind a push.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.served import Served
from benchmarks.tracks import recordings
from sifigan_triton.client import SifiganClient
from sifigan_triton.features.requests import Request
from sifigan_triton.quality import snr_db

LOOKAHEADS = (8, 16, 32, 64, 128, None)
PIECE_SAMPLES = 2400
REQUIRED_DB = 110.0


def push_all(client: SifiganClient, song: Request, piece: int, ahead: int | None) -> tuple[np.ndarray, list[int]]:
    """Return the audio of a stream of features, and how many frames waited behind each push."""
    stream, heard, waiting = client.open_stream(max_lookahead_frames=ahead), list[np.ndarray](), list[int]()
    for at in range(0, song.f0.size, piece):
        frames = slice(at, at + piece)
        heard += [chunk.waveform for chunk in stream.push(song.f0[frames], song.mcep[frames], song.bap[frames])]
        waiting.append(min(at + piece, song.f0.size) - sum(each.size for each in heard) // 120)
    heard += [chunk.waveform for chunk in stream.finish()]
    return np.concatenate(heard), waiting


def worst_db(whole: np.ndarray, heard: np.ndarray) -> float:
    """Return the 10th percentile of the ratio in pieces of 100 ms."""
    count = whole.size // PIECE_SAMPLES
    pairs = zip(np.array_split(whole, count), np.array_split(heard, count), strict=True)
    return float(np.percentile([snr_db(one, other) for one, other in pairs], 10.0))


def measure(client: SifiganClient, song: Request, piece: int) -> bool:
    """Print a line for each bound; return whether the exact audio is exact."""
    whole, total = client.synthesize(song.f0, song.mcep, song.bap), 0.0
    for ahead in LOOKAHEADS:
        heard, waiting = push_all(client, song, piece, ahead)
        total = snr_db(whole, heard)
        name = "exact" if ahead is None else f"{ahead} frames"
        print(
            f"{name:10s} {total:6.1f} dB, 10th percentile of 100 ms {worst_db(whole, heard):6.1f} dB; waited at most "
            f"{max(waiting)} frames, {np.mean(waiting):.0f} on average",
            flush=True,
        )
    return total >= REQUIRED_DB


def main() -> int:
    """Start the service, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-repository", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--piece", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        served = Served(options.model_repository, Path(folder))
        try:
            http, _ = served.start()
            with SifiganClient(http) as client:
                return 0 if measure(client, recordings().first(options.frames), options.piece) else 1
        finally:
            served.stop()


if __name__ == "__main__":
    sys.exit(main())

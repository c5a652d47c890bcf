"""Table: the served windows, and plain windows with a fixed overlap, against the full-length generator.

    python -m benchmarks.exactness [--window 128] [--f0-floor 100]

Builds an FP32 engine of that shape into build/benchmarks, serves it with the real Triton server, prints Markdown: SNR
in dB over 5 * window + 17 frames for each F0 track, through the server and for windows with 8 to 128 frames of overlap;
in brackets the SNR of the worst 50 ms.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.tracks import TRACKS, Array, fixed_overlap, full_length, track_request
from sifigan_triton.build.model_repository import BuildOptions, build
from sifigan_triton.client import SifiganClient
from sifigan_triton.quality import snr_db
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.server.triton_server import TritonServer
from sifigan_triton.voice.folder import load_voice

OVERLAPS = (8, 16, 32, 64, 128)
STRETCH = 1200
"""Samples of 50 ms."""


def cell(reference: Array, test: Array) -> str:
    """Return the SNR in dB of all samples and of the worst 50 ms (of those less than 40 dB below the loudest)."""
    whole = len(reference) // STRETCH * STRETCH
    stretches = [values[:whole].reshape(-1, STRETCH) for values in (reference, test)]
    powers = (stretches[0].astype(np.float64) ** 2).mean(axis=1)
    worst = min(snr_db(stretches[0][i], stretches[1][i]) for i in np.flatnonzero(powers > 1e-4 * powers.max()))
    return f"{snr_db(reference, test):.1f} ({worst:.1f})"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, default=Path("voices/random"))
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--f0-floor", type=float, default=100.0)
    args = parser.parse_args()
    voice, generator = load_voice(args.voice)
    output = Path(f"build/benchmarks/{voice.name}-window-{args.window}-floor-{args.f0_floor:g}")
    build(BuildOptions(args.voice, output, (ENGINES["openvino-fp32"],), None, args.window, args.f0_floor))
    frames = 5 * args.window + 17
    print(f"| F0 track ({frames} frames) | served | {' | '.join(f'overlap {n}' for n in OVERLAPS)} |")
    print("| --- " * (2 + len(OVERLAPS)) + "|")
    with (
        TritonServer(output, http_port=0, grpc_port=0, metrics_port=0) as server,
        SifiganClient(server.http_url) as client,
    ):
        for track in TRACKS:
            request = track_request(track, frames, args.f0_floor)
            reference = full_length(request, voice, generator)
            made = [client.synthesize(request.f0, request.mcep, request.bap)]
            made += [fixed_overlap(request, voice, generator, args.window, overlap) for overlap in OVERLAPS]
            print(f"| {track} | {' | '.join(cell(reference, waveform) for waveform in made)} |", flush=True)


if __name__ == "__main__":
    main()

"""Table: the served windows, and plain windows with a fixed overlap, against the full-length generator.

    python -m benchmarks.exactness [--window 128] [--f0-floor 100]

Builds an FP32 engine of that shape into build/benchmarks, serves it with the real Triton server, prints Markdown: SNR
in dB over 5 * window + 17 frames for each F0 track, through the server and for windows with 8 to 128 frames of overlap.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.tracks import TRACKS, fixed_overlap, full_length, track_request
from sifigan_triton.build import BuildOptions, build
from sifigan_triton.client import SifiganClient
from sifigan_triton.engines import ENGINES
from sifigan_triton.quality import snr_db
from sifigan_triton.server import TritonServer
from sifigan_triton.voices import load_voice

OVERLAPS = (8, 32, 64, 128)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, default=Path("voices/random"))
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--f0-floor", type=float, default=100.0)
    args = parser.parse_args()
    voice, generator = load_voice(args.voice)
    output = Path(f"build/benchmarks/window-{args.window}-floor-{args.f0_floor:g}")
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
            served = snr_db(reference, client.synthesize(request.f0, request.mcep, request.bap))
            plain = [
                snr_db(reference, fixed_overlap(request, voice, generator, args.window, overlap))
                for overlap in OVERLAPS
            ]
            print(f"| {track} | {served:.1f} | {' | '.join(f'{snr:.1f}' for snr in plain)} |", flush=True)


if __name__ == "__main__":
    main()

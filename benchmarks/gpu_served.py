"""Table: the served ensembles on an NVIDIA GPU, beside their bare engines in-process.

    python -m benchmarks.gpu_served [--engine pt-fp32 ...] [--frames 627 2440] [--concurrency 1 4 16 64]
        [--output build/gpu]

Builds the engines into OUTPUT/models (what is there and up to date stays) and runs `sifigan-triton benchmark` on them
over gRPC: the column "outside" is the share of time outside the engine. Writes served.md and benchmark.json, .md, .png.
Needs nvidia-pytriton and tritonclient; on a machine without a GPU the same engines run on the CPU, which serves to try
this file.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from sifigan_triton.build.model_repository import build
from sifigan_triton.build.options import BuildOptions, has_tensorrt
from sifigan_triton.measure.plan import BenchmarkOptions, Schedule
from sifigan_triton.measure.report import write_results
from sifigan_triton.measure.run import run_benchmark
from sifigan_triton.repository.engine_kinds import ENGINES, EngineKind
from sifigan_triton.server.triton_server import TritonServer
from sifigan_triton.voice.folder import RANDOM_CARD, random_voice, save_voice


def build_repository(args: argparse.Namespace, kinds: tuple[EngineKind, ...]) -> Path:
    """Build the engines, of a random voice unless one is given."""
    repository: Path = args.output / "models"
    voice: Path = args.voice or args.output / "voice"
    if args.voice is None and not (voice / "voice.json").exists():
        save_voice(voice, *random_voice(channels=args.channels), RANDOM_CARD)
    options = BuildOptions(voice, repository, kinds, max_batch_size=args.max_batch, gate_data=())
    build(options)
    return repository


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ["pt-fp32", "pt-fp16", *(["trt-fp32", "trt-fp16"] if has_tensorrt() else [])]
    parser.add_argument("--engine", nargs="+", default=default, choices=list(ENGINES))
    parser.add_argument("--voice", type=Path, help="voice folder (default: random weights)")
    parser.add_argument("--channels", type=int, default=512, help="of the random voice")
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--frames", type=int, nargs="+", default=[627, 2440])
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--utilization", type=float, nargs="*", default=[0.8])
    parser.add_argument("--requests", type=int, default=40, help="of a row in a round, at least")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("build/gpu"))
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # what the build says
    kinds = tuple(ENGINES[name] for name in args.engine)
    repository = build_repository(args, kinds)
    options = BenchmarkOptions(
        repository,
        kinds,
        lengths=tuple(args.frames),
        concurrency=tuple(args.concurrency),
        protocols=("grpc", "grpc-shm"),
        utilization=tuple(args.utilization),
        schedule=Schedule(args.rounds, args.requests),
    )

    def serve(models: Sequence[str]) -> TritonServer:
        ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
        return TritonServer(repository, models=models, client_shared_memory=True, **ports)

    text = write_results(args.output, run_benchmark(options, serve), options)
    (args.output / "served.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

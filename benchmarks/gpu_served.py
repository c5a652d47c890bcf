"""Table: the served ensembles on an NVIDIA GPU, under the wheel's Triton server and perf_analyzer.

    python -m benchmarks.gpu_served [--engine pt-fp32 ...] [--requests frames-627.json ...] [--output build/gpu]

Builds the engines into OUTPUT/models (what is there and up to date stays), serves the ensemble of each and measures it
over gRPC. Writes served.json and served.md. Needs nvidia-pytriton and tritonclient; on a machine without a GPU the same
engines run on the CPU, which serves to try this file.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.gpu_machine import describe_machine
from sifigan_triton.build import build
from sifigan_triton.build_options import BuildOptions, has_tensorrt
from sifigan_triton.engines import ENGINES, EngineKind
from sifigan_triton.perf import PerfRow, PerfSettings, measure
from sifigan_triton.server import TritonServer
from sifigan_triton.voices import RANDOM_CARD, random_voice, save_voice

DATA = Path(__file__).parent.parent / "measurement_data"


def build_repository(args: argparse.Namespace, kinds: tuple[EngineKind, ...]) -> Path:
    """Build the engines, of a random voice unless one is given."""
    repository: Path = args.output / "models"
    voice: Path = args.voice or args.output / "voice"
    if args.voice is None and not (voice / "voice.json").exists():
        save_voice(voice, *random_voice(channels=args.channels), RANDOM_CARD)
    options = BuildOptions(voice, repository, kinds, max_batch_size=args.max_batch, gate_data=())
    build(options, report=lambda line: print(line, flush=True))
    return repository


def serve_and_measure(args: argparse.Namespace, repository: Path, kinds: tuple[EngineKind, ...]) -> list[PerfRow]:
    """Measure each engine's ensemble; the name of the engine goes in front of that of the requests."""
    settings = PerfSettings(requests=args.count)
    requests = [DATA / name for name in args.requests]
    rows = []
    for kind in kinds:
        with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, models=(kind.ensemble,)) as server:
            rows += [
                PerfRow(f"{kind.name} {row.inputs}", row.protocol, row.concurrency, row.audio_s, row.result)
                for row in measure(
                    server.http_url,
                    server.grpc_url,
                    requests,
                    model=kind.ensemble,
                    concurrencies=args.concurrency,
                    protocols=("grpc",),
                    settings=settings,
                )
            ]
    return rows


def format_rows(rows: list[PerfRow], machine: dict[str, str]) -> str:
    """Return the rows as Markdown, with the machine above."""
    lines = [", ".join(f"{key} {value}" for key, value in machine.items()), ""]
    lines += [
        "| engine and requests | concurrency | req/s | audio s/s | avg ms | p50 ms | p99 ms | steps (compute ms) |"
    ]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"]
    for row in rows:
        result = row.result
        steps = ", ".join(f"{step.model} {step.compute_ms:.1f}" for step in result.steps)
        lines.append(
            f"| {row.inputs} | {row.concurrency} | {'' if result.stable else '~'}{result.throughput:.2f} "
            f"| {row.audio_seconds_per_second:.1f} | {result.avg_ms:.1f} | {result.p50_ms:.1f} | {result.p99_ms:.1f} "
            f"| {steps} |"
        )
    return "\n".join(lines) + "\n\n~: not stable, the figures are those of three windows\n"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ["pt-fp32", "pt-fp16", *(["trt-fp32", "trt-fp16"] if has_tensorrt() else [])]
    parser.add_argument("--engine", nargs="+", default=default, choices=list(ENGINES))
    parser.add_argument("--voice", type=Path, help="voice folder (default: random weights)")
    parser.add_argument("--channels", type=int, default=512, help="of the random voice")
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--requests", nargs="+", default=["frames-627.json", "long.json"])
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--count", type=int, default=20, help="requests in a measurement window, at least")
    parser.add_argument("--output", type=Path, default=Path("build/gpu"))
    args = parser.parse_args()
    kinds = tuple(ENGINES[name] for name in args.engine)
    rows = serve_and_measure(args, build_repository(args, kinds), kinds)
    machine = describe_machine("cuda" if torch.cuda.is_available() else "cpu")
    text = format_rows(rows, machine)
    (args.output / "served.md").write_text(text, encoding="utf-8")
    content = {"machine": machine, "rows": [asdict(row) for row in rows]}
    (args.output / "served.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

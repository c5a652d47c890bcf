"""What each command of `sifigan-triton` does; `cli.py` parses their options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.voice import Statistics, Voice

if TYPE_CHECKING:
    from sifigan_triton.server.triton_server import TritonServer

# Each command imports what it needs itself: `--help` and `analyze` should not wait for torch.


def import_voice_files(args: argparse.Namespace) -> None:
    """Make a voice folder from the files of the training code."""
    from sifigan_triton.voice.importing import import_voice

    license_text = args.license.read_text(encoding="utf-8") if args.license else None
    voice = import_voice(
        args.checkpoint,
        args.stats,
        args.generator,
        args.output,
        pd_indexing=args.pd_indexing,
        name=args.name,
        license_text=license_text,
        overwrite=args.overwrite,
    )
    print(f"{args.output}: voice {voice.name}, {voice.generator.channels} channels, pd_indexing {voice.pd_indexing}")
    print(f"next: python build_engines.py --voice {args.output}")


def random_voice(args: argparse.Namespace) -> None:
    """Make a voice of seeded random weights."""
    from sifigan_triton.voice.folder import RANDOM_CARD, random_voice, save_voice

    voice, generator = random_voice(channels=args.channels, seed=args.seed, pd_indexing=args.pd_indexing)
    save_voice(args.output, voice, generator, RANDOM_CARD)
    print(f"{args.output}: seeded random weights, {args.channels} channels; it makes noise, at a real voice's cost")


def serve(args: argparse.Namespace) -> None:
    """Run the server in the foreground."""
    from sifigan_triton.build.tensorrt.manifest import check_repository
    from sifigan_triton.repository.staging import servable_models
    from sifigan_triton.server.triton_server import TritonServer

    problems = check_repository(args.model_repository)
    models = servable_models(args.model_repository, without={line.partition(":")[0] for line in problems})
    if problems and "sifigan" not in models:
        raise RuntimeError("\n".join(problems))
    for line in problems:
        print(f"left out, with the ensembles around it: {line}")
    with TritonServer(
        args.model_repository,
        host=args.host,
        http_port=args.http_port,
        grpc_port=args.grpc_port,
        metrics_port=args.metrics_port,
        log_path=args.log,
        models=models,
    ) as server:
        print(f"serving {args.model_repository}: HTTP {server.http_url}, gRPC {server.grpc_url}, metrics "
              f"{server.metrics_url}; Ctrl-C stops", flush=True)  # fmt: skip
        server.wait()


def analyze(args: argparse.Namespace) -> None:
    """Extract the features of a recording."""
    from sifigan_triton.cli.demo import load_features

    features = load_features(args.input, _analysis_voice(args))
    features.save(args.output)
    print(f"{args.output}: {features.frames} frames, {features.seconds:.2f} s, {(features.f0 > 0).sum()} voiced")


def synthesize(args: argparse.Namespace) -> None:
    """Synthesise a feature file, or a recording (`resynthesize`), on a running server."""
    from sifigan_triton.cli.demo import load_features, synthesize_to_files
    from sifigan_triton.client import SifiganClient
    from sifigan_triton.features.features import Features

    if args.command == "synthesize":
        features = Features.load(args.input)
    else:
        features = load_features(args.input, _analysis_voice(args))
    with SifiganClient(args.url, args.model, args.timeout) as client:
        title = f"{args.input.name}, f0_factor {args.f0_factor:g}"
        synthesize_to_files(client, features, args.f0_factor, args.output, args.plot, title, args.seed)
    print(f"{args.output}: {features.seconds:.2f} s")


def compare(args: argparse.Namespace) -> int:
    """Compare two recordings; returns 1 if a bound is broken."""
    from sifigan_triton.quality.command import compare

    verdict = compare(args)
    print(verdict.table())
    return 0 if verdict.passed else 1


def demo(args: argparse.Namespace) -> None:
    """Synthesise a recording at two pitches on a server of its own."""
    from sifigan_triton.cli.demo import format_rows, run_demo
    from sifigan_triton.client import SifiganClient

    voice = Voice.load(args.model_repository / "preprocess" / "1" / "voice.json")
    print(f"starting Triton on {args.model_repository} ...", flush=True)
    with (
        _private_server(args.model_repository) as server,
        SifiganClient(server.http_url) as client,
    ):
        rows = run_demo(client, args.recording, voice, args.output, args.f0_factor or [1.0, 1.26], _say)
    print(format_rows(rows))


def perf(args: argparse.Namespace) -> None:
    """Measure the ensemble with perf_analyzer."""
    from sifigan_triton.measure.perf import PerfSettings, format_table, measure

    inputs = args.inputs or [Path("measurement_data", name) for name in ("short.json", "frames-627.json")]
    with _private_server(args.model_repository) as server:
        rows = measure(
            server.http_url,
            server.grpc_url,
            inputs,
            model=args.model,
            concurrencies=args.concurrency or [1, 2, 4],
            settings=PerfSettings(requests=args.requests),
        )
    print(format_table(rows))


def benchmark(args: argparse.Namespace) -> None:
    """Measure engines and their ensembles in one interleaved run."""
    from sifigan_triton.measure.benchmark import BenchmarkOptions, built_engines, run_benchmark, write_results
    from sifigan_triton.measure.document import Section
    from sifigan_triton.measure.run import Schedule
    from sifigan_triton.repository.engine_kinds import ENGINES

    marks = ("<!-- benchmark: written by `sifigan-triton benchmark` -->", "<!-- benchmark: end -->")
    section = Section(args.document, *marks) if args.document else None
    if section is not None:
        section.around()  # before anything is measured
    engines = [ENGINES[name] for name in args.engine] if args.engine else built_engines(args.model_repository)
    options = BenchmarkOptions(
        args.model_repository,
        tuple(engines),
        tuple(args.frames),
        tuple(args.concurrency),
        tuple(args.protocol),
        tuple(args.utilization),
        Schedule(args.rounds, args.requests, args.seed),
        args.recording,
    )
    text = write_results(args.output, run_benchmark(options, _say), options)
    print(text)
    if section is not None:
        section.write(text)
    print(f"{args.output}: benchmark.json, benchmark.md, benchmark.png")


def _private_server(model_repository: Path) -> TritonServer:
    """Return a server on free ports."""
    from sifigan_triton.repository.staging import servable_models
    from sifigan_triton.server.triton_server import TritonServer

    models = servable_models(model_repository)
    return TritonServer(model_repository, http_port=0, grpc_port=0, metrics_port=0, models=models)


def _say(line: str) -> None:
    print(line, flush=True)


def _analysis_voice(args: argparse.Namespace) -> Voice:
    """Return the voice whose analysis settings to use: the one asked for, or one with the defaults."""
    if args.voice is not None:
        return Voice.load(args.voice / "voice.json")
    mcep, bap = (Statistics((0.0,) * width, (1.0,) * width) for width in (40, 3))
    return Voice("default", mcep, bap)

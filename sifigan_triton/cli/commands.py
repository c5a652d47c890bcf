"""What each command of `sifigan-triton` does; `main.py` parses their options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.voice import PdIndexing, Voice
from sifigan_triton.files import is_stream

if TYPE_CHECKING:
    from sifigan_triton.repository.servable import Servable
    from sifigan_triton.server.service import ServiceOptions
    from sifigan_triton.server.triton_server import TritonServer

OPEN_PORTS = """\
These ports are open to every machine that reaches this one, without a password: whoever connects can use the
vocoder. How much at once is limited, and loading models, tracing and logging are closed. This server (Triton
24.10) has known holes that later releases mend: what faces a network that you do not trust is the container, on
a current release, behind a proxy of yours that says who may ask."""

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
        pd_indexing=_pd_indexing(args),
        name=args.name,
        license_text=license_text,
        overwrite=args.overwrite,
    )
    print(f"{args.output}: voice {voice.name}, {voice.generator.channels} channels, pd_indexing {voice.pd_indexing}")
    print(f"next: sifigan-triton build --voice {args.output}")


def _pd_indexing(args: argparse.Namespace) -> PdIndexing:
    """Return the rule that was chosen, or find it with recordings."""
    if (args.pd_indexing == "find") != bool(args.recording):
        raise ValueError("--pd-indexing find and --recording belong together: give both, or the rule alone")
    if args.pd_indexing != "find":
        rule: PdIndexing = args.pd_indexing
        return rule
    from sifigan_triton.cli.indexing_trial import try_indexing
    from sifigan_triton.voice.importing import check_output, read_public_voice

    check_output(args.output, args.overwrite)
    files = args.checkpoint, args.stats, args.generator
    print("synthesising the recordings with both rules, and comparing; that takes some minutes ...", flush=True)
    trial = try_indexing(*read_public_voice(*files, pd_indexing="reflect"), args.recording)
    print(trial.table())
    if trial.found is None:
        raise ValueError(
            f"{trial.summary()}. Nothing was imported: take (more) recordings that the voice was trained with, or "
            "choose yourself: reflect is the rule of the public code since March 2023"
        )
    print(trial.summary())
    return trial.found


def random_voice(args: argparse.Namespace) -> None:
    """Make a voice of seeded random weights."""
    from preprocess.voice import VOICE_FILE
    from sifigan_triton.voice.folder import RANDOM_CARD, random_voice, save_voice

    if (args.output / VOICE_FILE).exists() and not args.overwrite:
        raise ValueError(f"{args.output} holds a voice already: name another folder, or add --overwrite")
    voice, generator = random_voice(channels=args.channels, seed=args.seed, pd_indexing=args.pd_indexing)
    save_voice(args.output, voice, generator, RANDOM_CARD)
    print(f"{args.output}: seeded random weights, {args.channels} channels; it makes noise, at a real voice's cost")


def build(args: argparse.Namespace) -> None:
    """Build engines and their repository."""
    from sifigan_triton.cli.build import run

    run(args)


def voices(args: argparse.Namespace) -> None:
    """List the voices of a repository, or remove one."""
    from sifigan_triton.cli.voices import run

    run(args)


def serve(args: argparse.Namespace) -> None:
    """Run the service in the foreground."""
    from sifigan_triton.server.service import Service

    service = Service(_service_options(args))
    if not service.is_local:
        print(OPEN_PORTS)

    def ready() -> None:
        print(f"serving {args.model_repository}: HTTP {service.http_url}, gRPC {service.grpc_url}, metrics "
              f"{service.metrics_url}; logs {args.logs}; Ctrl-C stops", flush=True)  # fmt: skip

    service.run(ready)


def _service_options(args: argparse.Namespace) -> ServiceOptions:
    """Look at the repository, and say what of it is left out: at the start, and whenever the service is told to."""
    from sifigan_triton.repository.servable import find_servable
    from sifigan_triton.server import tracing
    from sifigan_triton.server.front import Limits, Ports
    from sifigan_triton.server.service import ServiceOptions

    servable = find_servable(_fetched(args.model_repository))
    for name, reason in sorted(servable.left_out.items()):
        print(f"left out: {name}: {reason}", flush=True)
    for note in servable.notes:
        print(f"note: {note}")
    return ServiceOptions(
        servable.repository,
        servable.models,
        probed=servable.voices,
        host=args.host,
        ports=Ports(args.http_port, args.grpc_port, args.metrics_port),
        limits=Limits(args.max_in_flight, args.max_request_mb * 2**20),
        grace_s=args.grace,
        logs=args.logs,
        client_shared_memory=args.client_shared_memory,
        arguments=tracing.flags(args.otlp) if args.otlp else (),
        again=lambda: _service_options(args),
    )


def _fetched(repository: Path | str) -> Path:
    """Return a repository's folder; that of an object store is fetched, and was verified file by file."""
    if isinstance(repository, Path):
        return repository
    from sifigan_triton.store.address import read_address
    from sifigan_triton.store.fetch import cache_folder, fetch

    return fetch(read_address(repository), cache_folder())


def health(args: argparse.Namespace) -> int:
    """Say whether a server makes sound; returns 1 if it does not."""
    from sifigan_triton.server.health import run

    return run(args)


def analyze(args: argparse.Namespace) -> None:
    """Extract the features of a recording."""
    from sifigan_triton.features.analysis import analyze_recording

    done = _report_of(args.output)
    features = analyze_recording(args.input, _voice(args))
    features.save(args.output)
    done(f"{args.output}: {features.frames} frames, {features.seconds:.2f} s, {(features.f0 > 0).sum()} voiced")


def synthesize(args: argparse.Namespace) -> int | None:
    """Synthesise feature files, or recordings (`resynthesize`), on a running server; returns 1 if some fail."""
    if args.stream and args.plot is not None:
        raise ValueError("--plot draws a whole file and --stream has none: leave one of the two out")
    if len(args.input) > 1 or args.output.is_dir():
        if args.stream:
            raise ValueError("--stream makes one file: give one input, and the name of a file")
        from sifigan_triton.cli.bulk import make_all

        return make_all(args, _voice(args) if args.command == "resynthesize" else None)
    _synthesize_one(args, *args.input)
    return None


def _synthesize_one(args: argparse.Namespace, source: Path) -> None:
    from sifigan_triton.cli.demo import synthesize_to_files
    from sifigan_triton.cli.stream import too_long, write_stream
    from sifigan_triton.cli.voices import telling_voices
    from sifigan_triton.client import SifiganClient, SynthesisError
    from sifigan_triton.features.analysis import analyze_recording
    from sifigan_triton.features.audio import audio_format
    from sifigan_triton.features.features import Features
    from sifigan_triton.features.plot import picture_format

    done = _report_of(args.output)
    audio_format(args.output)  # before the work is done, not after
    _check_apart(source, args.output, args.plot)
    if args.plot is not None:
        picture_format(args.plot)
    features = Features.load(source) if args.command == "synthesize" else analyze_recording(source, _voice(args))
    with SifiganClient(args.url, args.model, args.timeout, retries=0) as client, telling_voices(client):
        title = f"{source.name}, f0_factor {args.f0_factor:g}"
        if not args.stream:
            try:
                synthesize_to_files(
                    client, features, args.f0_factor, args.output, args.plot, title, args.seed, args.repair
                )
            except SynthesisError as refusal:
                if not too_long(refusal) or args.plot is not None:
                    raise
                print(f"{source}: too long for one call ({refusal}); it is streamed", file=sys.stderr)
                args.stream = True
        if args.stream:
            write_stream(client, features, args)
    done(f"{args.output}: {features.seconds:.2f} s")


def _check_apart(*paths: Path | None) -> None:
    """Refuse names of files that would replace one another."""
    files = [path.resolve() for path in paths if path is not None and (path.is_file() or not path.exists())]
    if len(set(files)) < len(files):
        raise ValueError(f"{', '.join(map(str, filter(None, paths)))}: one would replace another, name different files")


def compare(args: argparse.Namespace) -> int:
    """Compare two recordings; returns 1 if a bound is broken."""
    from sifigan_triton.cli.compare import compare

    verdict = compare(args)
    print(verdict.table())
    return 0 if verdict.passed else 1


def demo(args: argparse.Namespace) -> None:
    """Synthesise a recording at two pitches on a server of its own."""
    from sifigan_triton.cli.demo import format_rows, run_demo
    from sifigan_triton.client import SifiganClient
    from sifigan_triton.repository.servable import find_servable
    from sifigan_triton.repository.voice_names import MAIN

    servable = find_servable(args.model_repository, [MAIN])
    voice = Voice.load(servable.first_step() / "voice.json")
    print(f"starting Triton on {args.model_repository} ...", flush=True)
    with private_server(servable) as server, SifiganClient(server.http_url) as client:
        factors = args.f0_factor or [1.0, 1.26]
        rows = run_demo(client, args.recording, voice, args.output, factors, server.metrics_url)
    print(format_rows(rows))


def benchmark(args: argparse.Namespace) -> None:
    """Measure ensembles, and their bare engines, in one interleaved run."""
    from sifigan_triton.measure.plan import BenchmarkOptions, Schedule, built_engines
    from sifigan_triton.measure.report import Section, write_results
    from sifigan_triton.measure.run import run_benchmark
    from sifigan_triton.repository.engine_kinds import ENGINES
    from sifigan_triton.repository.servable import find_servable

    marks = ("<!-- benchmark: written by `sifigan-triton benchmark` -->", "<!-- benchmark: end -->")
    section = Section(args.document, *marks) if args.document else None
    if section is not None:
        section.around()  # before anything is measured
    engines = tuple(ENGINES[name] for name in args.engine or ())
    wanted = [*(kind.ensemble for kind in engines), *args.model]
    servable = find_servable(args.model_repository, wanted)  # before an engine is loaded here
    if not wanted:
        engines = tuple(kind for kind in built_engines(args.model_repository) if kind.ensemble in servable.models)
    options = BenchmarkOptions(
        args.model_repository,
        engines,
        models=tuple(args.model),
        files=tuple(args.inputs),
        lengths=tuple(args.frames),
        concurrency=tuple(args.concurrency),
        protocols=tuple(args.protocol),
        utilization=None if args.utilization is None else tuple(args.utilization),
        schedule=Schedule(args.rounds, args.requests, args.seed),
        recording=args.recording,
    )
    shared = any(protocol not in ("http", "grpc") for protocol in args.protocol)

    def serve(models: Sequence[str]) -> TritonServer:
        return private_server(find_servable(args.model_repository, models), client_shared_memory=shared)

    rows = run_benchmark(options, serve)
    text = write_results(args.output, rows, options)
    print(text)
    if section is not None:
        section.write(text)
    print(f"{args.output}: benchmark.json, benchmark.md, benchmark.png")


def private_server(servable: Servable, client_shared_memory: bool = False) -> TritonServer:
    """Return a server on free ports, for this machine alone."""
    from sifigan_triton.server.triton_server import TritonServer

    return TritonServer(
        servable.repository,
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        models=servable.models,
        client_shared_memory=client_shared_memory,
    )


def _report_of(output: Path) -> Callable[[str], None]:
    """Return what prints a line on what was written: to standard error where standard output may hold the data."""
    return partial(print, file=sys.stderr if is_stream(output) else sys.stdout)


def _voice(args: argparse.Namespace) -> Voice | None:
    """Return the voice whose analysis settings to use, if one was asked for."""
    return None if args.voice is None else Voice.load(args.voice / "voice.json")

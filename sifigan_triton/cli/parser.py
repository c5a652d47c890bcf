"""The commands of `sifigan-triton` and their options; `commands.py` runs them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from sifigan_triton import __version__
from sifigan_triton.cli import bulk, commands, plan, publish, values
from sifigan_triton.cli.latest import latest_repository
from sifigan_triton.files import project_file
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.server import health

EPILOG = """a recording to your own pitch, with a server up (`make serve`, or `serve` after `build`):
  sifigan-triton resynthesize in.wav -o out.wav --f0-factor 1.26 --plot out.png
the same in two steps, keeping the features:
  sifigan-triton analyze in.wav -o features.npz
  sifigan-triton synthesize features.npz -o out.wav
a voice trained with the public SiFi-GAN code:
  sifigan-triton import --checkpoint checkpoint-400000steps.pkl --stats train.joblib --generator sifigan.yaml \\
      --pd-indexing reflect --output voices/mine
  sifigan-triton build --voice voices/mine
does an engine of reduced precision sound the same?
  sifigan-triton compare fp32.wav fp16.wav --precision fp16

`sifigan-triton COMMAND --help` explains each command.
"""


def make_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of a command line, whose words tell which options have to be known."""
    parser = argparse.ArgumentParser(
        prog="sifigan-triton",
        description="Pitch-controllable neural vocoder on NVIDIA Triton: WORLD features of any length to a waveform.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbose = argparse.ArgumentParser(add_help=False)
    for each, default in ((parser, False), (verbose, argparse.SUPPRESS)):
        each.add_argument(
            "-v", "--verbose", action="store_true", default=default, help="say more, and show where an error arose"
        )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: _Run, text: str) -> argparse.ArgumentParser:
        description = text[0].upper() + text[1:] + "."
        sub = subparsers.add_parser(name, help=text, description=description, parents=[verbose])
        sub.set_defaults(run=run)
        return sub

    _add_voice_commands(command)
    sub = command("build", commands.build, "build the engines of a voice and the model repository that serves them")
    # Its choices come from torch's rooms, for which no other command should wait.
    if [word for word in words if not word.startswith("-")][:1] == ["build"]:
        from sifigan_triton.cli.build import add_options

        add_options(sub)
    _add_audio_commands(command)
    _add_server_commands(command)
    _add_benchmark(command)
    plan.add_options(command("plan", plan.run, "say how many servers a traffic needs, by a simulation of them"))
    bulk.add_options(command("bulk", bulk.run, "turn a folder of features or recordings into audio, with many workers"))
    return parser


_Run = Callable[[argparse.Namespace], int | None]
"""Runs a command; returns its exit status if that is not 0."""
_Command = Callable[[str, _Run, str], argparse.ArgumentParser]


def _add_voice_commands(command: _Command) -> None:
    sub = command(
        "import", commands.import_voice_files, "make a voice folder from the files of the public SiFi-GAN training code"
    )
    sub.add_argument("--checkpoint", type=Path, required=True, help="checkpoint-*.pkl")
    sub.add_argument("--stats", type=Path, required=True, help="feature statistics, *.joblib")
    sub.add_argument("--generator", type=Path, required=True, help="the generator's YAML, or the whole training's")
    sub.add_argument(
        "--pd-indexing",
        choices=["reflect", "zero", "find"],
        required=True,
        help="how the voice reads beyond the ends of an utterance, which its files do not tell: reflect if it was "
        "trained with the public code of March 2023 or later, zero if with that of 2022; the wrong one makes a worse "
        "voice. If nobody knows: find, with --recording",
    )
    sub.add_argument(
        "--recording",
        type=Path,
        nargs="+",
        metavar="IN.wav",
        help="for --pd-indexing find: recordings that the voice was trained with (others seldom tell), together 4 s or "
        "more; both rules are run and compared with them",
    )
    sub.add_argument("--name", help="name of the voice (default: the folder's)")
    sub.add_argument("--license", type=Path, help="text file with the licence of the weights, for the voice's card")
    sub.add_argument("--output", "-o", type=Path, required=True, help="voice folder to write")
    sub.add_argument("--overwrite", action="store_true", help="replace a voice that is there already")

    sub = command(
        "random-voice", commands.random_voice, "make a voice of seeded random weights, to measure speed and rounding"
    )
    sub.add_argument(
        "--channels", type=values.channels, default=512, help="channels of the first layer (default: %(default)s)"
    )
    sub.add_argument("--seed", type=values.seed, default=0, help="seed of the weights (default: %(default)s)")
    sub.add_argument(
        "--pd-indexing",
        choices=["reflect", "zero"],
        default="reflect",
        help="the rule of the public code since March 2023, or that of 2022 (default: %(default)s)",
    )
    sub.add_argument("--output", "-o", type=Path, default=Path("voices/random"), help="default: %(default)s")
    sub.add_argument("--overwrite", action="store_true", help="replace a voice that is there already")


def _add_audio_commands(command: _Command) -> None:
    sub = command(
        "analyze", commands.analyze, "extract F0, mel-cepstrum and band aperiodicity from a recording (WORLD, SPTK)"
    )
    sub.add_argument("input", type=Path, metavar="IN.wav", help="WAV, FLAC or OGG, any rate and channel count")
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="F.npz")
    _add_voice(sub)

    sub = command("synthesize", commands.synthesize, "synthesise feature files on a running server, each with one call")
    sub.add_argument("input", type=Path, nargs="+", metavar="F.npz", help="features, as `analyze` writes them")
    _add_synthesis(sub)

    sub = command("resynthesize", commands.synthesize, "analyse recordings and synthesise them on a running server")
    sub.add_argument(
        "input", type=Path, nargs="+", metavar="IN.wav", help="WAV, FLAC or OGG, any rate and channel count"
    )
    _add_voice(sub)
    _add_synthesis(sub)

    _add_compare(command)


def _add_compare(command: _Command) -> None:
    sub = command("compare", commands.compare, "say how much two recordings differ: a table of quality metrics")
    sub.add_argument("reference", type=Path, metavar="REF.wav", help="WAV, FLAC or OGG of 24 kHz")
    sub.add_argument("test", type=Path, metavar="TEST.wav", help="the same rate; for parity the same length")
    sub.add_argument(
        "--mode",
        choices=["parity", "recording"],
        default="parity",
        help="parity (default): two engines of one voice on the same request; recording: a recording against a vocoder",
    )
    sub.add_argument("--precision", choices=["fp32", "fp16", "bf16"], help="hold it to the bounds of such an engine")
    sub.add_argument(
        "--bound",
        action="append",
        metavar="NAME=VALUE",
        help="a bound, such as snr=45, repeatable; broken: exit status 1",
    )
    sub.add_argument("--features", type=Path, metavar="F.npz", help="features of the request: its F0 is used for both")
    sub.add_argument(
        "--range-db",
        type=float,
        default=80.0,
        help="dB below a frame's strongest frequency that are compared by mcd and envelope (default: %(default)g)",
    )
    sub.add_argument("--json", type=Path, metavar="OUT.json", help="write all figures")


def _add_voice(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--voice", type=Path, help="voice folder whose analysis settings to use (default: the usual ones)")


def _add_synthesis(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "-o",
        "--output",
        type=values.output,
        required=True,
        metavar="OUT.wav",
        help="16-bit WAV or FLAC to write; - is standard output; a folder for several inputs",
    )
    sub.add_argument(
        "--stream",
        action="store_true",
        help="write the audio while it is made: a WAV file that grows, or with -o - raw 16-bit samples; what "
        "is too long for one call is streamed in any case",
    )
    sub.add_argument("--jobs", type=values.count, default=4, help="of several inputs, files at a time (default: 4)")
    sub.add_argument("--f0-factor", type=float, default=1.0, help="factor on the pitch; 2 is an octave up (default: 1)")
    sub.add_argument("--seed", type=values.seed, default=0, help="seed of the excitation's noise (default: 0)")
    sub.add_argument("--repair", action="store_true", help="let NaN and Inf be replaced by the nearest finite frame")
    sub.add_argument(
        "--plot", type=Path, metavar="P.png", help="also draw waveform, spectrogram and F0: PNG, PDF or SVG"
    )
    sub.add_argument("--url", default="localhost:8000", help="host:port, or grpc://host:port (default: %(default)s)")
    sub.add_argument("--model", default="sifigan", help="ensemble to call (default: %(default)s)")
    sub.add_argument(
        "--timeout", type=values.seconds, default=300.0, help="seconds to wait for the answer (default: %(default)g)"
    )


def _add_server_commands(command: _Command) -> None:
    sub = command("voices", commands.voices, "list the voices of a model repository, or remove one")
    _add_repository(sub)
    sub.add_argument("--remove", metavar="NAME", help="remove the models of this voice, and nothing else")

    sub = command("publish", publish.run_publish, "publish a model repository in an object store")
    sub.add_argument("model_repository", type=Path, metavar="DIR", help="what `build` wrote")
    sub.add_argument("address", metavar="s3://BUCKET/PREFIX")
    sub.add_argument("--no-switch", action="store_true", help="only upload it: servers go on with the current release")
    sub = command("rollback", publish.run_rollback, "make another release in an object store the current one")
    sub.add_argument("address", metavar="s3://BUCKET/PREFIX")
    sub.add_argument("release", nargs="?", help="default: the one before the current one")
    sub = command("releases", publish.run_releases, "list the releases in an object store")
    sub.add_argument("address", metavar="s3://BUCKET/PREFIX")

    sub = command("serve", commands.serve, "keep a Triton server up, behind a proxy, in the foreground")
    _add_repository(sub, stored=True)
    sub.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 is every one: whoever reaches the ports may use the vocoder, without a "
        "password; put a proxy in front (default: %(default)s, this machine alone)",
    )
    sub.add_argument("--http-port", type=int, default=8000, help="0 picks a free one (default: %(default)s)")
    sub.add_argument("--grpc-port", type=int, default=8001, help="default: %(default)s")
    sub.add_argument("--metrics-port", type=int, default=8002, help="default: %(default)s")
    sub.add_argument(
        "--max-in-flight",
        type=values.in_flight,
        default=8,
        help="inference calls that are worked on at once, over each of HTTP and gRPC; a quarter as many long ones, "
        "which have places of their own; more are refused with 503 / UNAVAILABLE (default: %(default)s)",
    )
    sub.add_argument(
        "--max-request-mb", type=values.request_mb, default=64, help="largest request, in MiB (default: %(default)s)"
    )
    sub.add_argument(
        "--grace",
        type=values.grace,
        default=30.0,
        help="seconds for the calls in flight when the server is told to stop (default: %(default)g)",
    )
    sub.add_argument(
        "--otlp",
        metavar="URL",
        help="send a trace of each request to the OpenTelemetry collector at this address, such as "
        "http://127.0.0.1:4318",
    )
    sub.add_argument(
        "--logs", type=Path, default=Path("out"), help="folder for triton.log and front.log (default: %(default)s)"
    )
    sub.add_argument(
        "--client-shared-memory",
        action="store_true",
        help="let clients on this machine hand tensors over in shared memory (SifiganClient's shared_memory): less "
        "copying; but whoever reaches the ports may then read and overwrite what other clients and the models hand "
        "over, audio included, and so take over the server. Off by default, and only with a --host of this machine",
    )

    sub = command("health", commands.health, "say whether a running server makes sound; exit status 1 if it does not")
    health.add_options(sub)

    sub = command(
        "demo", commands.demo, "synthesise a recording at two pitches on a server of its own; writes out/*.wav, *.png"
    )
    _add_repository(sub)
    sub.add_argument(
        "--recording", type=Path, default=project_file("measurement_data/vocadito_10.flac"), help="default: %(default)s"
    )
    sub.add_argument("--f0-factor", type=float, action="append", help="repeatable (default: 1.0 and 1.26)")
    sub.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder to write to (default: %(default)s)")


def _add_benchmark(command: _Command) -> None:
    sub = command(
        "benchmark",
        commands.benchmark,
        "measure ensembles over requests x loads x protocols, with NVIDIA's perf_analyzer, in one interleaved run",
    )
    _add_repository(sub)
    sub.add_argument(
        "inputs",
        type=Path,
        nargs="*",
        metavar="DATA.json",
        help="requests to send as they are, such as measurement_data/short.json (default: cut from the recording)",
    )
    sub.add_argument(
        "--engine",
        nargs="+",
        choices=list(ENGINES),
        metavar="NAME",
        help="engines to measure, each bare in this process and behind its ensemble (default: all that are built)",
    )
    sub.add_argument(
        "--model", nargs="+", default=[], metavar="NAME", help="ensembles to measure alone, such as sifigan"
    )
    sub.add_argument(
        "--frames", type=int, nargs="+", default=[100, 627, 1820], help="frames of a request (default: 100 627 1820)"
    )
    sub.add_argument("--concurrency", type=int, nargs="+", default=[1, 4], help="clients (default: 1 4)")
    sub.add_argument(
        "--protocol",
        nargs="+",
        choices=["http", "grpc", "grpc-shm", "grpc-cuda"],
        default=["http", "grpc", "grpc-shm"],
        help="grpc-shm, grpc-cuda: tensors in system memory or the GPU's (default: http grpc grpc-shm)",
    )
    sub.add_argument(
        "--utilization",
        type=float,
        nargs="*",
        help="Poisson arrivals of mixed lengths at these shares of one client's rate, over the last protocol "
        "(default: 0.5 0.8; with DATA.json none)",
    )
    sub.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    sub.add_argument("--requests", type=int, default=6, help="of a row in a round, at least (default: %(default)s)")
    sub.add_argument("--seed", type=int, default=0, help="of the arrivals (default: %(default)s)")
    sub.add_argument(
        "--recording",
        type=Path,
        default=project_file("measurement_data/long.json"),
        help="its features (default: %(default)s)",
    )
    sub.add_argument("-o", "--output", type=Path, default=Path("build/benchmark"), help="default: %(default)s")
    sub.add_argument("--document", type=Path, metavar="DOC.md", help="also write the table between its benchmark marks")


def _add_repository(sub: argparse.ArgumentParser, stored: bool = False) -> None:
    also = ", or s3://bucket/prefix[@RELEASE], where `publish` put it" if stored else ""
    sub.add_argument(
        "--model-repository",
        type=values.repository if stored else Path,
        default=latest_repository(),
        metavar="FOLDER",
        help=f"what to serve{also} (default: what `build` wrote last, now %(default)s)",
    )

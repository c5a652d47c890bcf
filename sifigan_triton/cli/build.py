"""The command `sifigan-triton build`: its options, and where its repositories lie."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import get_args

from sifigan_triton.build.model_repository import BuildError, BuildOptions, build
from sifigan_triton.build.options import AUTO, GATE_DATA, all_engines, auto_engines
from sifigan_triton.build.tensorrt.check import check_voice, format_checks
from sifigan_triton.cli.latest import DEFAULT_REPOSITORY, remember
from sifigan_triton.files import project_file
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.quality import parse_bounds
from sifigan_triton.repository.engine_kinds import ENGINES, PLATFORMS, RUNTIMES, EngineKind, Precision
from sifigan_triton.voice.folder import load_voice

EPILOG = """examples:
  sifigan-triton build                                      the demonstration voice, the fastest engine of this machine
  sifigan-triton build --voice voices/x --engine onnx-fp32 --output deploy/models
  sifigan-triton build --engine all --platform container    for NVIDIA's container, with its native backends
  sifigan-triton build --precision fp16 --keep-fp32 auto    FP16 engines, as much in FP32 as the quality gate asks for
  sifigan-triton build --check-tensorrt                     is the graph TensorRT's? needs no GPU
  sifigan-triton build --voice voices/x --as x --output deploy/models   one more voice beside those that are there
  sifigan-triton build --f0-floor 50                        for low voices: more context, a little more arithmetic
"""


def run(args: argparse.Namespace) -> None:
    """Build what the options ask for."""
    if args.check_tensorrt:
        spec = EngineSpec(*load_voice(args.voice), args.window, args.f0_floor, args.max_batch)
        print(format_checks(check_voice(spec)))
        return
    options = _options(args)
    build(options)
    if args.output is None:
        remember(options.output)


def default_output(options: BuildOptions) -> Path:
    """Return where a build goes that was not told: `model_repository` is for the build whose configurations git holds.

    Every other one has a folder of its own, so that no build changes a file of the checkout or replaces another voice.
    """
    tracked = BuildOptions(project_file("voices/demo"), options.output, (ENGINES["openvino-fp32"],))
    asked = replace(options, voice=options.voice.resolve(), gate_data=tracked.gate_data, bounds={})
    if asked == replace(tracked, voice=tracked.voice.resolve()):
        return DEFAULT_REPOSITORY
    return Path("build", "models", options.voice.resolve().name)


def _options(args: argparse.Namespace) -> BuildOptions:
    kinds = _kinds(args.engine or ([] if args.precision else [AUTO]), args.precision)
    options = BuildOptions(
        voice=args.voice,
        output=args.output or Path(),
        engines=kinds,
        default_engine=ENGINES[args.default_engine] if args.default_engine else None,
        window=args.window,
        f0_floor=args.f0_floor,
        max_batch_size=args.max_batch,
        platform=args.platform,
        keep_fp32=AUTO if args.keep_fp32 == AUTO else tuple(filter(None, args.keep_fp32.split(","))),
        bounds=parse_bounds(args.bound),
        gate_data=tuple(args.gate_data),
        name=args.name,
    )
    if options.name and not args.output:
        raise BuildError(f"--as {options.name} adds a voice to a repository: name it with --output")
    return options if args.output else replace(options, output=default_output(options))


def _kinds(names: list[str], precision: Precision | None) -> tuple[EngineKind, ...]:
    """Return the engines that the command line names; without names, all of a precision that this machine can build."""
    kinds: list[EngineKind] = []
    if not names:
        kinds += [kind for kind in all_engines() if kind.precision == precision]
    for name in names:
        if name == AUTO:
            kinds += auto_engines()
        elif name == "all":
            kinds += [kind for kind in all_engines() if precision in (None, kind.precision)]
        elif name in RUNTIMES:
            full = f"{name}-{precision or 'fp32'}"
            if full not in ENGINES:
                raise BuildError(f"there is no engine {full}, expected one of {', '.join(ENGINES)}")
            kinds.append(ENGINES[full])
        else:
            kinds.append(ENGINES[name])
    other = [kind.name for kind in kinds if precision not in (None, kind.precision)]
    if other:
        raise BuildError(f"--precision is {precision}, but --engine names {', '.join(other)}: leave one of them out")
    return tuple(dict.fromkeys(kinds))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    defaults = BuildOptions(Path(), Path(), engines=())
    parser.add_argument(
        "--voice",
        type=Path,
        default=project_file("voices/demo"),
        metavar="FOLDER",
        help="voice folder (default: the demonstration voice, voices/demo)",
    )
    _add_engine_options(parser)
    _add_window_options(parser, defaults)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="model repository to write (default: model_repository for the default build, build/models/VOICE for every "
        "other one; `serve`, `demo` and `benchmark` then use it by themselves)",
    )
    parser.add_argument(
        "--as",
        dest="name",
        default="",
        metavar="NAME",
        help="name of the voice among several of the repository: its models are sifigan-NAME and so on, those of other "
        "voices stay as they are (default: the plain names, for the only or the first voice)",
    )
    parser.add_argument(
        "--platform",
        choices=PLATFORMS,
        default=defaults.platform,
        help="what will serve it: the server of the wheel (Python backend) or NVIDIA's container (native backends)",
    )


def _add_window_options(parser: argparse.ArgumentParser, defaults: BuildOptions) -> None:
    parser.add_argument(
        "--window",
        type=int,
        default=defaults.window,
        metavar="FRAMES",
        help="frames the largest window yields (default: %(default)s)",
    )
    parser.add_argument(
        "--f0-floor",
        type=float,
        default=defaults.f0_floor,
        help="lowest F0 in Hz that static engines treat exactly; requests below it are refused (default: %(default)s)",
    )
    parser.add_argument(
        "--max-batch",
        type=int,
        default=defaults.max_batch_size,
        help="windows in one call; with --window it bounds the longest utterance (default: %(default)s)",
    )


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine",
        action="append",
        choices=[AUTO, "all", *RUNTIMES, *ENGINES],
        metavar="ENGINE",
        help=f"engine to build, repeatable: {', '.join(ENGINES)}; a runtime alone ({', '.join(RUNTIMES)}) takes "
        "--precision; all: every one that can be built here; auto (the default): openvino-fp32, openvino-bf16 where "
        "the CPU has AMX or AVX512-BF16, trt-fp16 where TensorRT and an NVIDIA GPU are there",
    )
    parser.add_argument(
        "--default-engine", choices=list(ENGINES), help="engine behind the ensemble sifigan (default: the last one)"
    )
    parser.add_argument(
        "--precision", choices=get_args(Precision), help="for --engine all or a runtime; alone: all engines of it"
    )
    parser.add_argument(
        "--keep-fp32",
        default="",
        metavar="GROUPS",
        help="groups of layers of FP16 engines that stay in FP32, with commas between (input, excitation-down, source-1"
        " to -4, source-down, filter-1 to -4); auto: as few as the quality gate needs, by measurement",
    )
    parser.add_argument(
        "--bound",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="bound of the quality gate, repeatable, such as snr=45",
    )
    parser.add_argument(
        "--gate-data",
        type=Path,
        nargs="+",
        default=list(GATE_DATA),
        metavar="FILE",
        help="requests that engines of reduced precision are judged by (default: those of measurement_data)",
    )
    parser.add_argument(
        "--check-tensorrt",
        action="store_true",
        help="build nothing, but parse and build the FP32 and the FP16 graph with TensorRT-RTX, which needs no GPU",
    )

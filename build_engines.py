#!/usr/bin/env python3
"""Build the engines of a voice and the Triton model repository that serves them."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from preprocess.voice import VoiceError
from sifigan_triton.build import BuildError, BuildOptions, auto_engines, build
from sifigan_triton.export import ExportError
from sifigan_triton.repository import ENGINES

EPILOG = """examples:
  build_engines.py                                      the default voice, the fastest engine of this CPU
  build_engines.py --voice voices/x --engine onnx-fp32 --output deploy/models
  build_engines.py --f0-floor 50                        for low voices: more context, a little more arithmetic
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    kinds = [
        kind for name in args.engine or ["auto"] for kind in (auto_engines() if name == "auto" else (ENGINES[name],))
    ]
    options = BuildOptions(
        voice=args.voice,
        output=args.output,
        engines=tuple(dict.fromkeys(kinds)),
        default_engine=ENGINES[args.default_engine] if args.default_engine else None,
        window=args.window,
        f0_floor=args.f0_floor,
        max_batch_size=args.max_batch,
    )
    try:
        build(options, report=lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        return 130
    except (BuildError, ExportError, VoiceError, ValueError, OSError) as error:
        print(f"build_engines.py: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = BuildOptions(Path(), Path(), engines=())
    parser.add_argument("--voice", type=Path, default=Path("voices/random"), help="voice folder (default: %(default)s)")
    parser.add_argument(
        "--engine",
        action="append",
        choices=["auto", *ENGINES],
        help="engine to build, repeatable; auto (the default) is openvino-fp32, and openvino-bf16 where the CPU has "
        "AMX or AVX512-BF16",
    )
    parser.add_argument(
        "--default-engine", choices=list(ENGINES), help="engine behind the ensemble (default: the last one)"
    )
    parser.add_argument(
        "--window", type=int, default=defaults.window, help="frames a window yields (default: %(default)s)"
    )
    parser.add_argument(
        "--f0-floor",
        type=float,
        default=defaults.f0_floor,
        help="lowest F0 in Hz that is treated exactly; requests below it are refused (default: %(default)s)",
    )
    parser.add_argument(
        "--max-batch",
        type=int,
        default=defaults.max_batch_size,
        help="windows in one call; with --window it bounds the longest utterance (default: %(default)s)",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("model_repository"), help="model repository to write (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

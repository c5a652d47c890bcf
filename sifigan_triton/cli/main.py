"""The command `sifigan-triton`."""

from __future__ import annotations

import sys

from sifigan_triton.cli.console import console
from sifigan_triton.cli.parser import make_parser

EXTRAS = {
    **dict.fromkeys(("pyworld", "scipy", "soundfile", "soxr", "matplotlib"), "audio"),
    **dict.fromkeys(("pytriton", "openvino", "onnxruntime", "tqdm"), "serve"),
    **dict.fromkeys(("torch", "onnx", "safetensors", "yaml", "pyloudnorm"), "build"),
    "obstore": "store",
}
"""The extra that brings each package; without any there is the client."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        args = make_parser(words).parse_args(words)
    except ModuleNotFoundError as error:
        return _missing(words[0], error)
    with console(args.verbose):
        try:
            status: int | None = args.run(args)
        except KeyboardInterrupt:
            return 130
        except ModuleNotFoundError as error:
            return _missing(args.command, error)
        except (ValueError, OSError, RuntimeError) as error:
            if args.verbose:
                raise
            print(f"sifigan-triton {args.command}: {error}", file=sys.stderr)
            return 1
    return status or 0


def _missing(command: str, error: ModuleNotFoundError) -> int:
    """Say which extra brings a package that a command needs; returns the exit status."""
    extra = EXTRAS.get(str(error.name).partition(".")[0])
    if extra is None:
        raise error
    print(
        f"sifigan-triton {command} needs the package {error.name}: pip install '.[{extra}]' in the project's folder",
        file=sys.stderr,
    )
    return 1

#!/usr/bin/env python3
"""Build the engines of a voice and the Triton model repository that serves them: `sifigan-triton build`."""

import sys

from sifigan_triton.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["build", *sys.argv[1:]]))

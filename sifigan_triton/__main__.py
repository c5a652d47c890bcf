"""`python -m sifigan_triton`: the command `sifigan-triton`."""

import sys

from sifigan_triton.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Print the models of a repository that this machine can serve; say on stderr which are left out, and why.

One model that cannot be loaded keeps a whole `tritonserver` from starting, so it is told what to load. Runs in the
serving image: Python 3.10, standard library only.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

MAIN = "sifigan"
"""The ensemble without which there is nothing to serve."""

_STEP = re.compile(r'^\s*model_name:\s*"([^"]+)"', re.MULTILINE)
_NEEDS_GPU = re.compile(r"^\s*kind:\s*KIND_GPU\b", re.MULTILINE)


class SelectionError(RuntimeError):
    """The repository does not hold what is to be served."""


def select_models(repository: Path, gpu: bool) -> tuple[list[str], dict[str, str]]:
    """Tell which models of a repository can be loaded here.

    Args:
        repository: Triton's model repository.
        gpu: whether there is a GPU.

    Returns:
        The models that can be loaded, sorted; and for each of the others the reason.

    """
    configs = {path.parent.name: path.read_text(encoding="utf-8") for path in repository.glob("*/config.pbtxt")}
    left_out: dict[str, str] = {}
    for name, text in configs.items():
        if not any(path.is_dir() and path.name.isdigit() for path in (repository / name).iterdir()):
            left_out[name] = "it has a config.pbtxt but has not been built"
        elif _NEEDS_GPU.search(text) and not gpu:
            left_out[name] = "it needs an NVIDIA GPU and there is none"
    while broken := _broken_ensembles(configs, left_out):  # an ensemble may be a step of another
        left_out |= broken
    return sorted(configs.keys() - left_out.keys()), left_out


def _broken_ensembles(configs: dict[str, str], left_out: dict[str, str]) -> dict[str, str]:
    """Return the ensembles that have a step which will not be there, and which."""
    broken = {}
    for name in configs.keys() - left_out.keys():
        missing = [step for step in _STEP.findall(configs[name]) if step not in configs or step in left_out]
        if missing:
            broken[name] = (
                f"its step {missing[0]} is left out: {left_out.get(missing[0], 'it is not in the repository')}"
            )
    return broken


def choose(repository: Path, wanted: list[str], gpu: bool) -> tuple[list[str], dict[str, str]]:
    """Return what to load: `sifigan` and the wanted models, or all that can be loaded, and why the others are left out.

    Raises:
        SelectionError: if a wanted model or the ensemble `sifigan` cannot be loaded.

    """
    loadable, left_out = select_models(repository, gpu)
    chosen = list(dict.fromkeys([MAIN, *wanted]))  # the health check calls the ensemble `sifigan`
    for name in chosen:
        if name not in loadable:
            reason = left_out.get(name, f"it is not in the repository, which has {', '.join(loadable) or 'no models'}")
            raise SelectionError(
                f"{repository}: cannot serve {name}: {reason}. Build it with `docker compose run --rm build`, or "
                "choose another engine behind `sifigan` with DEFAULT_ENGINE"
            )
    return chosen if wanted else loadable, left_out


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("wanted", nargs="*", help="models to serve (default: all that can be loaded)")
    parser.add_argument("--gpu", choices=["yes", "no"], required=True, help="whether there is a GPU")
    args = parser.parse_args(arguments)
    try:
        chosen, left_out = choose(args.repository, args.wanted, args.gpu == "yes")
    except SelectionError as error:
        print(f"select_models.py: {error}", file=sys.stderr)
        return 1
    for name, reason in sorted(left_out.items()):
        print(f"select_models.py: {name} is left out: {reason}", file=sys.stderr)
    print("\n".join(chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())

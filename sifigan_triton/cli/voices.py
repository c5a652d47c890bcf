"""The command `sifigan-triton voices`: which voices a repository has, and the end of one."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sifigan_triton.client import ServerUnavailableError, SifiganClient
from sifigan_triton.files import hidden_beside
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.servable import VERSION, ServableError, find_servable, read_manifest, read_steps
from sifigan_triton.repository.voice_names import check_voice_name, main_ensembles, of_voice, voice_of

_HEADINGS = ("ensemble", "voice", "engine", "others", "window", "floor", "MB", "")


def run(args: argparse.Namespace) -> None:
    """List the voices, or remove one."""
    repository: Path = args.model_repository
    if not args.remove:
        print(table(repository))
        return
    models = remove(repository, check_voice_name(args.remove))
    print(f"{repository}: removed {', '.join(models)}; a server that runs goes on with them until it is told (SIGHUP)")


def table(repository: Path) -> str:
    """Return a line for each voice: its ensemble, engines, window, floor, size, and why it cannot be served here.

    Raises:
        ServableError: if there is no such repository.

    """
    left_out, names = _left_out(repository), _names(repository)
    rows = [_HEADINGS] + [_row(repository, ensemble, names, left_out) for ensemble in main_ensembles(names)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def remove(repository: Path, voice: str) -> list[str]:
    """Remove the models of a named voice, its ensembles first, and return their names.

    A server that looks meanwhile sees a voice that lacks a step, which it leaves out.

    Raises:
        ValueError: if there is no such voice.

    """
    models = sorted(
        (path.name for path in repository.glob("[!.]*") if path.is_dir() and voice_of(path.name) == voice),
        key=lambda name: (not read_steps(repository, name), name),
    )
    if not models:
        voices = ", ".join(filter(None, map(voice_of, main_ensembles(_names(repository)))))
        raise ValueError(f"{repository} has no voice {voice}, expected one of: {voices or 'it has none with a name'}")
    for name in models:
        hidden = hidden_beside(repository / name)
        (repository / name).rename(hidden)
        shutil.rmtree(hidden)
    return models


@contextmanager
def telling_voices(client: SifiganClient) -> Iterator[None]:
    """Say which voices a server has when it does not have the one that was asked for."""
    try:
        yield
    except ServerUnavailableError as error:
        if "unknown model" not in str(error):
            raise
        voices = ", ".join(main_ensembles(client.steps())) or "none"
        raise ServerUnavailableError(f"{error}; --model names a voice, the server has: {voices}") from None


def _names(repository: Path) -> list[str]:
    return [path.parent.name for path in repository.glob("[!.]*/config.pbtxt")]


def _left_out(repository: Path) -> Mapping[str, str]:
    """Return the reason for each model that cannot be served here."""
    try:
        return find_servable(repository).left_out
    except ServableError as error:
        if not error.left_out:
            raise
        return error.left_out


def _row(repository: Path, ensemble: str, names: list[str], left_out: Mapping[str, str]) -> tuple[str, ...]:
    voice = voice_of(ensemble) or ""
    engines = {of_voice(kind.model, voice): kind for kind in ENGINES.values()}
    behind = next((engines[step] for step in read_steps(repository, ensemble) if step in engines), None)
    others = [kind.name for model, kind in engines.items() if model in names and kind is not behind]
    first, *_ = (*read_steps(repository, ensemble), "")
    made = read_manifest(repository / first / VERSION)
    files = [path for name in names if voice_of(name) == voice for path in (repository / name).rglob("*")]
    return (
        ensemble,
        str(made.get("voice", "?")),
        behind.name if behind else "?",
        " ".join(others) or "-",
        str(made.get("window", "any")),
        f"{made['f0_floor']:g} Hz" if "f0_floor" in made else "any",
        f"{sum(path.stat().st_size for path in files if path.is_file()) / 1e6:.1f}",
        f"cannot be served: {left_out[ensemble]}" if ensemble in left_out else "",
    )

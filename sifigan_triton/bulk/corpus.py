"""The files of a corpus: what is to be made of what, by whom, and what is done already."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

FEATURES, RECORDINGS = (".npz",), (".wav", ".flac", ".ogg")
"""Endings of feature files, and of recordings, which are analysed first."""
LEFTOVER_S = 3600.0
"""Age in seconds from which an unfinished file is one that nobody writes any more."""
_LEFTOVER = re.compile(r"\..+\.(wav|flac)\.\d+-[0-9a-f]{8}\.tmp")
_RIFF = struct.Struct("<4sI4s")


@dataclass(frozen=True)
class Item:
    """A file to make."""

    source: Path
    target: Path
    is_recording: bool
    """Whether the source has to be analysed; else it holds features."""


def find_items(folder: Path, output: Path, suffix: str) -> list[Item]:
    """Return what is to be made of a folder and the folders below it, whose structure is kept.

    Args:
        folder: the corpus.
        output: folder of the audio.
        suffix: ending of the audio files, such as ".wav".

    Raises:
        ValueError: if there is nothing, two sources have one target, or one folder lies in the other.

    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: expected one with feature files (.npz) or recordings")
    whole, made = folder.resolve(), output.resolve()
    if made.is_relative_to(whole) or whole.is_relative_to(made):
        raise ValueError(f"{output} and {folder} lie in one another: what is made would be taken for what is given")
    found = sorted(path for path in _files(folder) if path.suffix.lower() in FEATURES + RECORDINGS)
    if not found:
        raise ValueError(f"{folder} holds no files that end in {', '.join(FEATURES + RECORDINGS)}")
    return distinct(
        Item(path, output / path.relative_to(folder).with_suffix(suffix), path.suffix.lower() in RECORDINGS)
        for path in found
    )


def distinct(items: Iterable[Item]) -> list[Item]:
    """Return files to make, no two of them under one name.

    Raises:
        ValueError: naming them.

    """
    listed = list(items)
    by_target: defaultdict[Path, list[Path]] = defaultdict(list)
    for item in listed:
        by_target[item.target].append(item.source)
    for target, sources in by_target.items():
        if len(sources) > 1:
            raise ValueError(f"{' and '.join(map(str, sources))} would both become {target}: rename one")
    return listed


def share(items: Sequence[Item], output: Path, worker: int, workers: int) -> list[Item]:
    """Return the part of one of several workers: the same one whenever it is started, whatever else is in the corpus.

    Raises:
        ValueError: if there is no such worker.

    """
    if not 0 <= worker < workers:
        raise ValueError(f"worker {worker} of {workers}, expected one from 0 to {workers - 1}")
    return [item for item in items if _number(item.target.relative_to(output)) % workers == worker]


def is_whole(path: Path) -> bool:
    """Say whether an audio file has all that its header promises; so has any that bulk work made."""
    try:
        with path.open("rb") as file:
            head = file.read(_RIFF.size)
            size = os.fstat(file.fileno()).st_size
        if len(head) == _RIFF.size and head.startswith(b"RIFF"):
            return size == int(_RIFF.unpack(head)[1]) + 8
        with soundfile.SoundFile(path) as audio:
            audio.seek(audio.frames - 1)
            return len(audio.read(1)) == 1
    except (OSError, soundfile.SoundFileError):
        return False


def remove_leftovers(output: Path) -> None:
    """Remove what workers that were killed were just writing: hidden files, long after that."""
    for path in _files(output):
        try:
            if _LEFTOVER.fullmatch(path.name) and time.time() - path.stat().st_mtime > LEFTOVER_S:
                path.unlink()
        except FileNotFoundError:
            continue  # another worker was first


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _number(name: Path) -> int:
    return int.from_bytes(hashlib.sha256(os.fsencode(name.as_posix())).digest()[:8], "big")

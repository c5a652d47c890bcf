"""`synthesize --stream`: audio that is written while it is made, for a player or into a file that grows."""

from __future__ import annotations

import argparse
import io
import sys
import wave
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from postprocess import to_pcm16
from sifigan_triton.client import SifiganClient, SynthesisError
from sifigan_triton.client.stream import Chunk
from sifigan_triton.features.features import Features
from sifigan_triton.files import is_stream


def write_stream(client: SifiganClient, features: Features, args: argparse.Namespace) -> None:
    """Write each piece when it comes: 16-bit samples without a header to standard output, else a WAV file.

    A WAV file can be played at any time, and holds what was made also where the stream fails midway.

    Raises:
        ValueError: if the output is neither.

    """
    path: Path = args.output
    if not is_stream(path) and path.suffix.lower() not in (".wav", ""):
        raise ValueError(f"{path} would be a FLAC file, which cannot grow: name a .wav file, or - for raw samples")
    chunks = client.stream(features.f0, features.mcep, features.bap, args.f0_factor, args.seed, args.repair)
    if is_stream(path):
        with _leaving(chunks):
            _write_raw(sys.stdout.buffer, chunks)
        return
    with _leaving(chunks), _wav(path, features.sample_rate) as file:
        for pcm16 in _pcm16(chunks):
            file.writeframes(pcm16.tobytes())  # puts the length in the header, too


def too_long(refusal: SynthesisError) -> bool:
    """Tell whether a server refuses an utterance for its length alone, which a stream has not."""
    return "f0 has " in str(refusal) and "split the utterance" in str(refusal)


def _write_raw(output: BinaryIO, chunks: Iterator[Chunk]) -> None:
    """Write samples, little-endian; where the player has gone, nothing is left to do."""
    try:
        for pcm16 in _pcm16(chunks):
            output.write(pcm16.tobytes())
            output.flush()
    except BrokenPipeError:
        # What is flushed at the end of the program must not fail again.
        sys.stdout = io.TextIOWrapper(Path("/dev/null").open("wb"))  # noqa: SIM115 - open until the end


def _pcm16(chunks: Iterator[Chunk]) -> Iterator[npt.NDArray[np.int16]]:
    for chunk in chunks:
        yield to_pcm16(chunk.waveform).astype("<i2")


@contextmanager
def _leaving(chunks: Generator[Chunk, None, None]) -> Iterator[None]:
    """Stop asking for more, whatever has happened."""
    try:
        yield
    finally:
        chunks.close()


@contextmanager
def _wav(path: Path, sample_rate: int) -> Iterator[wave.Wave_write]:
    """Open a WAV file of one channel; missing parent folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, wave.open(raw, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        yield file

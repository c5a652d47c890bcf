"""Make the files of `measurement_data/`: recordings, and input data for perf_analyzer.

    python benchmarks/make_measurement_data.py                                 # JSON files from the recordings
    python benchmarks/make_measurement_data.py --sdist basic_pitch-0.4.0.tar.gz  # the recordings too

The recordings are committed, so that nothing here is needed to build or to measure. They come from the source
distribution of basic-pitch 0.4.0 (`pip download --no-deps --no-binary=:all: basic-pitch==0.4.0`), which carries two
excerpts of the Vocadito dataset; measurement_data/README.md has authors and licence.
"""

from __future__ import annotations

import argparse
import json
import logging
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.voice import AnalysisSettings
from sifigan_triton.features.analysis import analyze
from sifigan_triton.features.audio import read_audio, write_audio
from sifigan_triton.features.features import Features
from sifigan_triton.features.requests import encode_tensor
from sifigan_triton.files import atomic_file

logger = logging.getLogger("make_measurement_data")

FOLDER = Path(__file__).resolve().parent.parent / "measurement_data"
SAMPLE_RATE = 24000
HOP_SIZE = 120
RECORDINGS = ("vocadito_10", "vocadito_14")
SDIST_FOLDER = "basic_pitch-0.4.0/tests/resources"


@dataclass(frozen=True)
class Excerpt:
    """Frames of a recording; all of them by default."""

    recording: str
    start: int = 0
    stop: int | None = None


FILES: dict[str, tuple[Excerpt, ...]] = {
    "short": (Excerpt("vocadito_14", 420, 520),),
    "frames-627": (Excerpt("vocadito_10", 80, 707),),
    "long": (Excerpt("vocadito_14"),),
    "several": (
        Excerpt("vocadito_10", 80, 280),
        Excerpt("vocadito_14", 420, 457),
        Excerpt("vocadito_10", 920, 1331),
        Excerpt("vocadito_14", 720, 1720),
    ),
}
"""The perf_analyzer files; each excerpt is one request."""


def make_recordings(sdist: Path, folder: Path) -> None:
    """Resample the recordings of a basic-pitch source distribution to 24 kHz, 16-bit FLAC.

    Args:
        sdist: `basic_pitch-0.4.0.tar.gz`.
        folder: where the FLAC files go.

    """
    with tarfile.open(sdist) as archive, tempfile.TemporaryDirectory() as scratch:
        for name in RECORDINGS:
            source = archive.extractfile(f"{SDIST_FOLDER}/{name}.wav")
            if source is None:
                raise FileNotFoundError(f"{sdist} holds no file {SDIST_FOLDER}/{name}.wav")
            wav = Path(scratch) / f"{name}.wav"
            wav.write_bytes(source.read())
            waveform = read_audio(wav, SAMPLE_RATE)
            write_audio(folder / f"{name}.flac", waveform, SAMPLE_RATE)
            logger.info("%s.flac: %.2f s", name, len(waveform) / SAMPLE_RATE)


def analyze_recording(name: str, folder: Path = FOLDER) -> Features:
    """Analyse a whole recording with the default settings."""
    waveform = read_audio(folder / f"{name}.flac", SAMPLE_RATE)
    return analyze(waveform, SAMPLE_RATE, AnalysisSettings(), HOP_SIZE)


def entry(features: Features, excerpt: Excerpt) -> dict[str, Any]:
    """Make one request of a perf_analyzer file.

    Args:
        features: features of the whole recording.
        excerpt: the frames to take.

    Returns:
        Tensor name -> base64 of its little-endian float32 values, and its shape.

    Raises:
        ValueError: if a feature is NaN or infinite, naming the tensor and the frame.

    """
    request = {}
    for name in ("f0", "mcep", "bap"):
        array: NDArray[np.float32] = getattr(features, name)[excerpt.start : excerpt.stop]
        bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
        if len(bad):
            raise ValueError(f"{name} of {excerpt.recording} is not finite at frame {excerpt.start + bad[0]}")
        request[name] = encode_tensor(array)
    return request


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdist", type=Path, help="make the recordings anew, from this basic_pitch-0.4.0.tar.gz")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the files (default: measurement_data)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.sdist:
        make_recordings(options.sdist, options.output)
    recordings = options.output if options.sdist else FOLDER
    features = {name: analyze_recording(name, recordings) for name in RECORDINGS}
    for name, excerpts in FILES.items():
        data = [entry(features[excerpt.recording], excerpt) for excerpt in excerpts]
        text = json.dumps({"data": data}, indent=1) + "\n"
        with atomic_file(options.output / f"{name}.json") as file:
            file.write(text.encode("ascii"))
        frames = ", ".join(str(request["f0"]["shape"][0]) for request in data)
        logger.info("%s.json: %s frames, %d bytes", name, frames, len(text))


if __name__ == "__main__":
    main()

"""Inputs of the exactness measurements: F0 tracks, features of the recordings, and the fixed-overlap control."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from preprocess import Voice, condition
from sifigan_triton.features.requests import Request, read_requests
from sifigan_triton.network.generator import Generator

Array = npt.NDArray[np.float32]
DATA = Path(__file__).parent.parent / "measurement_data"


def shipped(name: str) -> list[Request]:
    """Read the requests of `measurement_data/<name>.json`."""
    return read_requests(DATA / f"{name}.json")


PAUSE_FRAMES = 160
"""Frames of the first recording before its first note: of a short request a trained voice would make silence."""


def recordings() -> Request:
    """Return the features of both singers, one behind the other, from the first note on: 2,907 frames."""
    parts = shipped("long") + shipped("frames-627")
    joined = {key: np.concatenate([getattr(part, key) for part in parts]) for key in ("f0", "mcep", "bap")}
    return Request(**{key: values[PAUSE_FRAMES:] for key, values in joined.items()})


def _half_unvoiced(frames: int, floor: float) -> Array:
    f0 = np.full(frames, floor * 1.5, np.float32)
    f0[: frames // 4] = 0.0
    f0[frames // 2 : 3 * frames // 4] = 0.0
    return f0


TRACKS: dict[str, Callable[[int, float], Array]] = {
    "floor": lambda frames, floor: np.full(frames, floor, np.float32),
    "100 Hz": lambda frames, _: np.full(frames, 100.0, np.float32),
    "300 Hz": lambda frames, _: np.full(frames, 300.0, np.float32),
    "800 Hz": lambda frames, _: np.full(frames, 800.0, np.float32),
    "recordings": lambda frames, _: recordings().f0[:frames],
    "glide": lambda frames, floor: np.geomspace(floor, 8.0 * floor, frames + 1, dtype=np.float64)[1:].astype(
        np.float32
    ),
    "half unvoiced": _half_unvoiced,
    "all unvoiced": lambda frames, _: np.zeros(frames, np.float32),
}
"""F0 of a number of frames for an engine of a floor in Hz, by the track's name."""


def lengths(window: int) -> dict[str, int]:
    """Return the lengths around which windowing can go wrong, in frames."""
    return {
        "1": 1,
        "2": 2,
        "W-1": window - 1,
        "W": window,
        "W+1": window + 1,
        "2W": 2 * window,
        "5W+17": 5 * window + 17,
    }


def track_request(track: str, frames: int, floor: float) -> Request:
    """Return the recordings' mel-cepstrum and band aperiodicity under the F0 of a track."""
    sung = recordings().first(frames)
    return Request(TRACKS[track](frames, floor), sung.mcep, sung.bap)


def full_length(request: Request, voice: Voice, generator: Generator) -> Array:
    """Return what the full-length generator makes of a request: float32 (T * hop_size,)."""
    return _generate(generator, *condition(request.f0, request.mcep, request.bap, voice))


def fixed_overlap(request: Request, voice: Voice, generator: Generator, window: int, overlap: int) -> Array:
    """Return what plain windows with a fixed overlap make of a request: what static engines are usually fed.

    Each window sees `overlap` frames more at both sides, as far as the utterance goes, and is cut to its own frames.

    Args:
        request: the features.
        voice: the voice's constants.
        generator: the full-length generator.
        window: frames that a window yields.
        overlap: frames of context at each side.

    """
    excitation, features, offsets = condition(request.f0, request.mcep, request.bap, voice)
    frames, hop = request.f0.size, voice.hop_size
    pieces = []
    for start in range(0, frames, window):
        stop = min(start + window, frames)
        low, high = max(start - overlap, 0), min(stop + overlap, frames)
        samples = slice(low * hop, high * hop)
        piece = _generate(generator, excitation[:, samples], features[:, low:high], offsets[:, low:high])
        pieces.append(piece[(start - low) * hop : (stop - low) * hop])
    return np.concatenate(pieces)


def _generate(generator: Generator, *inputs: npt.NDArray[np.generic]) -> Array:
    with torch.no_grad():
        waveform: Array = generator(*(torch.from_numpy(values.copy())[None] for values in inputs))[0, 0].numpy()
    return waveform

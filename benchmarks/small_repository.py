"""A repository with a small voice and a small window: for what depends on requests, not on the engine's cost."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tracks import track_request
from sifigan_triton.build.model_repository import BuildOptions, build
from sifigan_triton.features.requests import Request
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.voice.folder import RANDOM_CARD, random_voice, save_voice

ENGINE = ENGINES["openvino-fp32"]
CHANNELS, WINDOW, F0_FLOOR = 64, 64, 200.0
"""A window takes some 4 ms on 2 cores."""


def build_small_repository(folder: Path, seed: int = 0) -> Path:
    """Build it into a folder, with the random weights of a seed, and return its path."""
    save_voice(folder / "voice", *random_voice("small", channels=CHANNELS, seed=seed), RANDOM_CARD)
    build(BuildOptions(folder / "voice", folder / "models", (ENGINE,), None, WINDOW, F0_FLOOR, max_batch_size=128))
    return folder / "models"


def request_of(frames: int) -> Request:
    """Return a request of a number of frames that the engine takes."""
    return track_request("300 Hz", frames, F0_FLOOR)

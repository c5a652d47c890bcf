"""The shared memory that Python models start with."""

from __future__ import annotations

from math import prod

from sifigan_triton.repository.ensemble_config import request_tensors
from sifigan_triton.repository.model_config import FP32, Tensor, engine_output, window_tensors
from sifigan_triton.server.triton_server import SHM_BYTES
from tests.repository.test_model_plan import default_settings

FRAMES = 4000


def size(tensors: list[Tensor], first: int) -> int:
    """Return the bytes of FP32 and INT32 tensors whose first axis, or the one before it, has a size of `first`."""
    return sum(4 * first * prod(n for n in tensor.dims if n > 0) for tensor in tensors)


def test_no_step_needs_more_for_twenty_seconds() -> None:
    settings = default_settings()
    assert settings.seconds(FRAMES) == 20.0
    windows = -(-FRAMES // settings.window)
    features = [tensor for tensor in request_tensors(settings) if tensor.data_type == FP32]
    taken, made = size(window_tensors(settings), windows), size([engine_output(settings)], windows)
    samples = FRAMES * settings.voice.hop_size
    steps = {"preprocess": size(features, FRAMES) + taken, "engine": taken + made, "postprocess": made + samples * 6}
    assert max(steps.values()) == steps["engine"]
    assert 0.8 * SHM_BYTES < steps["engine"] < 0.95 * SHM_BYTES

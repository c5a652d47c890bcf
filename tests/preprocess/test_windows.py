"""Windows tile the utterance and show its frames unchanged."""

from __future__ import annotations

import numpy as np
import pytest

from preprocess import Settings, Windows
from preprocess.windows import split
from tests.small_voice import Inputs, small_voice

VOICE = small_voice()[0]
HOP = VOICE.hop_size
FILL = {"excitation": 0, "features": 0, "offsets": 1}


def numbered(frames: int) -> Inputs:
    """Make inputs in which every value occurs once, none of them a padding value."""

    def count(channels: int, length: int) -> np.ndarray:
        return np.arange(2, 2 + channels * length).reshape(channels, length)

    excitation, features, offsets = count(1, frames * HOP), count(43, frames), count(10, frames)
    return excitation.astype(np.float32), features.astype(np.float32), offsets.astype(np.int32)


def settings_of(window: int, halo: int) -> Settings:
    return Settings(VOICE, window, halo, f0_floor=100.0, max_batch_size=64)


SHAPES = [
    pytest.param(frames, window, halo, id=f"T{frames}-W{window}-H{halo}")
    for window, halo in ((8, 3), (4, 9), (1, 2), (8, 0))
    for frames in (1, 2, window, window + 1, 2 * window, 5 * window + 3)
]


def arrays(windows: Windows) -> dict[str, np.ndarray]:
    return dict(vars(windows))


@pytest.mark.parametrize(("frames", "window", "halo"), SHAPES)
def test_windows_are_slices_of_the_padded_utterance(frames: int, window: int, halo: int) -> None:
    inputs = numbered(frames)
    windows = split(*inputs, settings_of(window, halo))
    count = -(-frames // window)
    for (name, fill), values in zip(FILL.items(), inputs, strict=True):
        rate = values.shape[1] // frames
        got = arrays(windows)[name]
        assert got.shape == (count, values.shape[0], (window + 2 * halo) * rate)
        for k in range(count):
            for frame in range(window + 2 * halo):
                source = k * window - halo + frame
                shown = got[k, :, frame * rate : (frame + 1) * rate]
                expected = values[:, source * rate : (source + 1) * rate] if 0 <= source < frames else fill
                assert (shown == expected).all(), f"{name}, window {k}, frame {frame}"


@pytest.mark.parametrize(("frames", "window", "halo"), SHAPES)
def test_middles_cover_every_sample_once(frames: int, window: int, halo: int) -> None:
    excitation, features, offsets = numbered(frames)
    windows = split(excitation, features, offsets, settings_of(window, halo))
    middle = windows.excitation[:, 0, halo * HOP : (halo + window) * HOP].reshape(-1)
    np.testing.assert_array_equal(middle[: frames * HOP], excitation[0])
    np.testing.assert_array_equal(middle[frames * HOP :], 0.0)


@pytest.mark.parametrize(("frames", "window", "halo"), SHAPES)
def test_bounds_point_at_the_utterance(frames: int, window: int, halo: int) -> None:
    windows = split(*numbered(frames), settings_of(window, halo))
    seen = window + 2 * halo
    expected = [[halo - k * window, halo - k * window + frames] for k in range(-(-frames // window))]
    assert windows.bounds.tolist() == [[max(first, -seen), min(last, 2 * seen)] for first, last in expected]


def test_arrays_are_contiguous_and_typed() -> None:
    inputs = numbered(30)
    windows = split(*inputs, settings_of(8, 3))
    types = {"excitation": np.float32, "features": np.float32, "offsets": np.int32, "bounds": np.int32}
    for name, values in arrays(windows).items():
        assert values.flags.c_contiguous, name
        assert values.dtype == types[name], name
    for values, expected in zip(inputs, numbered(30), strict=True):
        np.testing.assert_array_equal(values, expected)

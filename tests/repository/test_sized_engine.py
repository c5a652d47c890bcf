"""An engine of several window sizes yields what its largest window yields, as far as anybody wants it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from preprocess.names import STATIC_INPUTS
from preprocess.windows import split
from sifigan_triton.build.engine_builder import EngineMaker
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.quality import snr_db
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.runtimes import load_engine
from sifigan_triton.repository.runtimes.sized_engine import SizedEngine, cheapest_cover, cost, window_sizes
from tests.small_voice import one_thread, random_inputs, run_generator, small_spec, small_voice

HALO, HOP = 5, 2
WINDOWS = [512, 209, 48, 33, 17, 1]
ENDS = [-(2**31), -1, 0, HALO - 1, HALO, HALO + 1, HALO + 20, HALO + 110, 2**31 - 1]
"""Bounds that a stranger may send."""
EXACT_DB = 110.0
"""Windowed against full length: 120 dB and more; a wrong cut leaves less than 40 dB."""


class Ruler:
    """An engine whose samples tell from where each was computed: whole numbers that float32 holds exactly."""

    sized, batch = True, 1

    def __init__(self, folder: Path, precision: str, inputs: Mapping[str, list[int]]) -> None:
        self.place = (folder, precision)
        self.inputs = inputs

    def run(self, windows: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        assert {name: list(values.shape[1:]) for name, values in windows.items()} == self.inputs
        frames = self.inputs["features"][-1] - 2 * HALO
        seen = [windows["features"][:, :, shift : shift + frames] for shift in (0, HALO, 2 * HALO)]
        near = seen[0] + 3 * seen[1] + 7 * seen[2] + windows["offsets"][:, 1:, HALO : HALO + frames]
        own = windows["excitation"][:, :, HALO * HOP : (HALO + frames) * HOP]
        begin, end = windows["bounds"][:, 0, None, None], windows["bounds"][:, 1, None, None]
        position = np.arange(HALO, HALO + frames)
        bounded = (position - begin) + 11 * (end - position)
        return (own + np.repeat(near + bounded, HOP, axis=2)).astype(np.float32)


class OneSizeRuler(Ruler):
    """The same with the largest window alone, for several windows at a time."""

    sized, batch = False, 4


def load(window: int, runtime: type[Ruler] = Ruler) -> SizedEngine:
    seen = window + 2 * HALO
    inputs = {"excitation": [1, seen * HOP], "features": [1, seen], "offsets": [2, seen], "bounds": [2]}
    return SizedEngine(runtime, Path("version"), "fp32", inputs, window * HOP)


def inputs_of(window: int, *bounds: tuple[int, int]) -> dict[str, npt.NDArray[Any]]:
    """Draw windows, one for each pair of bounds."""
    random, seen = np.random.default_rng(0), window + 2 * HALO
    shapes = {"excitation": (1, seen * HOP), "features": (1, seen), "offsets": (2, seen)}
    drawn = {name: random.integers(0, 50, (len(bounds), *shape)) for name, shape in shapes.items()}
    types = {"excitation": np.float32, "features": np.float32, "offsets": np.int32}
    return {**{name: drawn[name].astype(types[name]) for name in types}, "bounds": np.array(bounds, np.int32)}


@pytest.mark.parametrize("window", WINDOWS)
def test_every_length_yields_the_frames_of_the_largest_window(window: int) -> None:
    sized, whole = load(window), load(window, OneSizeRuler)
    for wanted in range(1, window + 1):
        inputs = inputs_of(window, (HALO - wanted // 2, HALO + wanted))
        got, expected = sized.run(inputs), whole.run(inputs)
        computed = sum(part.frames for part in sized.work(inputs).parts)
        assert wanted <= computed <= window
        assert got.shape == expected.shape
        np.testing.assert_array_equal(got[..., : computed * HOP], expected[..., : computed * HOP])
        assert not got[..., computed * HOP :].any()


def test_engines_lie_in_folders_named_after_their_frames() -> None:
    places = {size: engine.place for size, engine in load(209)._engines.items()}
    assert places == {
        209: (Path("version"), "fp32"),
        **{size: (Path("version") / str(size), "fp32") for size in (104, 52, 26)},
    }


def covers(sizes: tuple[int, ...], frames: int) -> Iterator[tuple[int, ...]]:
    """Yield every choice of windows that together have at most so many frames."""
    yield ()
    for index, size in enumerate(sizes):
        if size <= frames:
            yield from ((size, *others) for others in covers(sizes[index:], frames - size))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("halo", [0, 1, 5, 107, 1000])
def test_no_cover_is_cheaper(window: int, halo: int) -> None:
    sizes = window_sizes(window)
    assert sizes[0] == window
    assert all(size >= 16 for size in sizes[1:])
    costs = [(sum(cover), sum(cost(size, halo) for size in cover)) for cover in covers(tuple(sizes), window)]
    least = math.inf
    for wanted in range(window, 0, -1):
        cover = cheapest_cover(wanted, sizes, halo)
        assert wanted <= sum(cover) <= window
        least = min([least, *(cost for frames, cost in costs if frames == wanted)])
        assert sum(cost(size, halo) for size in cover) == pytest.approx(least, rel=1e-12)


@pytest.mark.parametrize("window", [209, 48, 1])
def test_bounds_of_strangers_mean_what_they_mean_to_the_largest_window(window: int) -> None:
    sized, whole = load(window), load(window, OneSizeRuler)
    bounds = [(begin, end) for begin in ENDS for end in ENDS]
    inputs = inputs_of(window, *bounds)
    before = {name: values.copy() for name, values in inputs.items()}
    got, work, expected = sized.run(inputs), sized.work(inputs), whole.run(inputs)
    for index, (_, end) in enumerate(bounds):
        computed = sum(part.frames for part in work.parts if part.window == index)
        assert min(max(end - HALO, 0), window) <= computed <= window
        np.testing.assert_array_equal(got[index, :, : computed * HOP], expected[index, :, : computed * HOP])
        assert not got[index, :, computed * HOP :].any()
    for name, values in before.items():
        np.testing.assert_array_equal(inputs[name], values)


def test_windows_of_several_requests_go_together() -> None:
    engine, window = load(48, OneSizeRuler), 48
    assert engine.batch == 4
    inputs = [inputs_of(window, (HALO, HALO + 30)), inputs_of(window, (-20, HALO + 48), (-68, 20))]
    works = [engine.work(one) for one in inputs]
    engine.compute([(work, part) for work in works for part in work.parts])
    for one, work in zip(inputs, works, strict=True):
        np.testing.assert_array_equal(work.waveform, engine.run(one))
        assert work.waveform.any(axis=2).all()


@pytest.fixture(scope="module", params=["reflect", "zero"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The small voice's engine for windows of 64, 32 and 16 frames, with what it was made from."""
    folder = tmp_path_factory.mktemp("engine")
    spec = small_spec(*small_voice(request.param), window=64)
    with one_thread():
        EngineMaker(spec, folder).make(ENGINES["openvino-fp32"], folder)
        seen = named(spec, 1)
        inputs = {name: list(values.shape[1:]) for name, values in seen.items()}
        yield spec, load_engine("openvino", folder, "fp32", inputs, spec.window * spec.voice.hop_size)


def named(spec: EngineSpec, frames: int) -> dict[str, npt.NDArray[Any]]:
    windows = split(*random_inputs(spec.voice, frames), spec.settings)
    return {name: getattr(windows, name) for name in STATIC_INPUTS}


def test_windows_of_all_sizes_equal_full_length(small: tuple[EngineSpec, SizedEngine]) -> None:
    """The last window of the utterance ends at, just before and just behind each hand-over to another size."""
    spec, engine = small
    covers = set()
    for wanted in (1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64):
        frames, hop = spec.window + wanted, spec.voice.hop_size
        inputs = named(spec, frames)
        covers.add(tuple(part.frames for part in engine.work(inputs).parts if part.window == 1))
        reference = run_generator(spec.generator, random_inputs(spec.voice, frames))
        got = engine.run(inputs).reshape(-1)[: frames * hop]
        for part in (slice(None), slice(spec.window * hop, None)):
            assert snr_db(reference[part], got[part]) >= EXACT_DB, wanted
    assert covers == {(16,), (32,), (32, 16), (64,)}


def test_two_threads_may_want_the_same_size(small: tuple[EngineSpec, SizedEngine]) -> None:
    spec, engine = small
    inputs = [named(spec, frames) for frames in (14, 15, 16)]
    expected = [engine.run(one) for one in inputs]
    with ThreadPoolExecutor(2) as pool:
        got = list(pool.map(engine.run, inputs * 10))
    for index, waveform in enumerate(got):
        np.testing.assert_array_equal(waveform, expected[index % 3])


@pytest.mark.parametrize("window", WINDOWS)
def test_padding_is_what_is_computed_beyond_what_is_wanted(window: int) -> None:
    wanted = [1, window // 2, window, 10 * window]
    work = load(window).work(inputs_of(window, *((0, HALO + frames) for frames in wanted)))
    assert work.padding == sum(part.frames for part in work.parts) - sum(min(frames, window) for frames in wanted)
    assert work.padding >= 0

"""The crop plan: no window sees too little, and none sees more than it needs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch

from preprocess import Settings, Windows
from preprocess.f0 import largest_offsets
from preprocess.voice import PdIndexing, Voice
from preprocess.windows import split
from sifigan_triton.network.crop_plan import CropPlan, Span, crop_plan
from sifigan_triton.network.generator import Generator, up_padding
from sifigan_triton.network.narrowing_engine import NarrowingEngine
from sifigan_triton.voice.folder import random_voice
from tests.small_voice import (
    F0_FLOOR,
    Inputs,
    inputs_of,
    one_thread,
    random_inputs,
    run_engine,
    run_generator,
    small_settings,
    small_voice,
)

MODES: list[PdIndexing] = ["reflect", "zero"]
WINDOW_INDEX, FRAMES = 4, 288
"""Window 4 of 9 sees 48 frames beyond each side of its own 32, and neither end of the utterance."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def changed_where(inputs: Inputs, frames: np.ndarray, hop: int) -> Inputs:
    """Replace everything in the chosen frames; the offsets stay at most as large as the floor's."""
    random, count = np.random.default_rng(1), int(frames.sum())
    excitation, features, offsets = (values.copy() for values in inputs)
    excitation[:, np.repeat(frames, hop)] = random.normal(0.0, 10.0, (1, count * hop))
    features[:, frames] = random.normal(0.0, 10.0, (features.shape[0], count))
    offsets[:, frames] = random.integers(1, offsets.max(axis=1, keepdims=True) + 1, (offsets.shape[0], count))
    return excitation, features, offsets


def one_window(windows: Windows, index: int) -> Windows:
    return Windows(**{name: values[index : index + 1] for name, values in vars(windows).items()})


def seen_frames(settings: Settings) -> np.ndarray:
    seen = np.zeros(FRAMES, bool)
    first = WINDOW_INDEX * settings.window - settings.halo
    seen[first : first + settings.input_frames] = True
    assert seen.sum() == settings.input_frames, "the window is meant to lie inside the utterance"
    return seen


@pytest.mark.parametrize("mode", MODES)
def test_what_a_window_does_not_see_leaves_it_unchanged(mode: PdIndexing) -> None:
    voice, generator = small_voice(mode)
    settings, plan = small_settings(voice)
    engine, seen = NarrowingEngine(generator, voice, plan), seen_frames(settings)
    inputs = random_inputs(voice, FRAMES)
    windows = [split(*values, settings) for values in (inputs, changed_where(inputs, ~seen, voice.hop_size))]
    for name, values in vars(one_window(windows[0], WINDOW_INDEX)).items():
        np.testing.assert_array_equal(values, getattr(one_window(windows[1], WINDOW_INDEX), name), err_msg=name)
    outputs = [run_engine(engine, each) for each in windows]
    np.testing.assert_array_equal(outputs[0][WINDOW_INDEX], outputs[1][WINDOW_INDEX])
    others = [not np.array_equal(outputs[0][index], outputs[1][index]) for index in range(9)]
    assert others[:4] + others[5:] == [True] * 8  # the change was no small one


@pytest.mark.parametrize("mode", MODES)
def test_full_length_model_has_no_longer_reach(mode: PdIndexing) -> None:
    """The reference itself: its samples in a window stay the same, bit by bit, whatever lies outside the view."""
    voice, generator = small_voice(mode)
    settings, _ = small_settings(voice)
    inputs = random_inputs(voice, FRAMES)
    changed = changed_where(inputs, ~seen_frames(settings), voice.hop_size)
    samples = slice(WINDOW_INDEX * 32 * voice.hop_size, (WINDOW_INDEX + 1) * 32 * voice.hop_size)
    np.testing.assert_array_equal(run_generator(generator, inputs)[samples], run_generator(generator, changed)[samples])


@cache
def sensitivity(mode: PdIndexing, f0_factor: float) -> tuple[tuple[float, ...], tuple[float, ...], CropPlan]:
    """Return the largest gradient of a window's output with respect to each frame of features and of excitation.

    The F0 is constant at the engine's floor times `f0_factor`; FP64, so that the faintest way through shows.
    """
    voice, generator = small_voice(mode)
    settings, plan = small_settings(voice)
    frames = settings.input_frames
    f0 = np.full(frames, np.float32(F0_FLOOR * f0_factor))
    excitation, features, offsets = (torch.from_numpy(values)[None] for values in inputs_of(voice, f0))
    excitation, features = excitation.double().requires_grad_(), features.double().requires_grad_()
    with torch.enable_grad():
        engine = NarrowingEngine(generator.double(), voice, plan)
        output = engine(excitation, features, offsets, torch.tensor([[0, frames]], dtype=torch.int32))
        output.double().pow(2).sum().backward()
    assert features.grad is not None
    assert excitation.grad is not None
    by_feature = features.grad[0].abs().amax(dim=0)
    by_excitation = excitation.grad.reshape(frames, voice.hop_size).abs().amax(dim=1)
    return tuple(by_feature.tolist()), tuple(by_excitation.tolist()), plan


@pytest.mark.parametrize("mode", MODES)
def test_a_voice_at_the_floor_uses_the_outermost_frames(mode: PdIndexing) -> None:
    by_feature, by_excitation, _ = sensitivity(mode, 1.0)
    either = np.maximum(by_feature, by_excitation)
    matters = np.flatnonzero(either)
    assert matters[0] == 0
    assert len(either) - 1 - matters[-1] <= 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("f0_factor", [1.25, 2.0])
def test_a_higher_voice_does_not_use_the_outermost_frames(mode: PdIndexing, f0_factor: float) -> None:
    by_feature, by_excitation, plan = sensitivity(mode, f0_factor)
    unused = plan.halo - crop_plan(small_voice(mode)[0], plan.window, F0_FLOOR * f0_factor).halo
    assert unused >= 5
    for values in (np.array(by_feature), np.array(by_excitation)):
        np.testing.assert_array_equal(values[:unused], 0.0)
        np.testing.assert_array_equal(values[-unused:], 0.0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("f0_factor", "matters"), [(1.0, True), (2.0, False)], ids=["floor", "octave-above"])
@pytest.mark.parametrize("side", ["first", "last"])
def test_changing_the_outermost_features(mode: PdIndexing, f0_factor: float, matters: bool, side: str) -> None:
    voice, generator = small_voice(mode)
    settings, plan = small_settings(voice)
    frames = settings.input_frames
    engine = NarrowingEngine(generator.double(), voice, plan)
    excitation, features, offsets = inputs_of(voice, np.full(frames, np.float32(F0_FLOOR * f0_factor)))
    by_feature = np.flatnonzero(sensitivity(mode, 1.0)[0])
    outermost = int(by_feature[0 if side == "first" else -1])
    assert min(outermost, frames - 1 - outermost) <= 3
    changed = features.copy()
    changed[:, outermost] += 1e12  # faint: it goes through every residual unit of the source network
    bounds = np.array([[0, frames]], np.int32)
    outputs = [
        run_engine(engine, Windows(excitation[None], each[None], offsets[None], bounds)) for each in (features, changed)
    ]
    assert np.array_equal(*outputs) != matters


@pytest.mark.parametrize("scale", [2, 3, 4, 5])
@pytest.mark.parametrize(("start", "stop"), [(-17, 9), (0, 1), (3, 40), (-1, 0)], ids=str)
def test_before_up_is_what_the_layer_reads(scale: int, start: int, stop: int) -> None:
    layer = torch.nn.ConvTranspose1d(
        1, 1, 2 * scale, scale, padding=up_padding(scale), output_padding=scale % 2, bias=False
    )
    torch.nn.init.ones_(layer.weight)
    origin = 50  # input sample 0 of the span, in the middle of a long signal
    x = torch.zeros(1, 1, 101, requires_grad=True)
    with torch.enable_grad():
        layer(x)[..., origin * scale + start : origin * scale + stop].sum().backward()
    assert x.grad is not None
    read = np.flatnonzero(x.grad[0, 0]) - origin
    before = Span(scale, start, stop).before_up(scale)
    assert (before.rate, before.start, before.stop) == (1, read[0], read[-1] + 1)


@pytest.mark.parametrize("scale", [2, 3, 4, 5])
@pytest.mark.parametrize(("start", "stop"), [(-17, 9), (0, 1), (3, 40), (-1, 0)], ids=str)
def test_before_down_is_what_the_layer_reads(scale: int, start: int, stop: int) -> None:
    layer = torch.nn.Conv1d(1, 1, 2 * scale, scale, padding=scale - 1, bias=False)
    torch.nn.init.ones_(layer.weight)
    origin = 50  # output sample 0 of the span
    x = torch.zeros(1, 1, 101 * scale, requires_grad=True)
    with torch.enable_grad():
        layer(x)[..., origin + start : origin + stop].sum().backward()
    assert x.grad is not None
    read = np.flatnonzero(x.grad[0, 0]) - origin * scale
    before = Span(1, start, stop).before_down(scale)
    assert (before.rate, before.start, before.stop) == (scale, read[0], read[-1] + 1)


def covers(outer: Span, inner: Span) -> bool:
    return outer.rate == inner.rate and outer.start <= inner.start and inner.stop <= outer.stop


VARIANTS = [
    pytest.param({}, id="default"),
    pytest.param({"filter_additional_convs": True}, id="filter-additional"),
    pytest.param({"source_additional_convs": False}, id="no-source-additional"),
    pytest.param({"upsample_scales": (2, 3, 4, 5)}, id="other-scales"),
    pytest.param({"source_dilations": ((4,), (1,), (1,), (1,))}, id="deep-source"),
]


@pytest.mark.parametrize("hyperparameters", VARIANTS)
@pytest.mark.parametrize("f0_floor", [50.0, 400.0])
@pytest.mark.parametrize("window", [1, 32, 512])
def test_every_layer_gets_what_it_needs(hyperparameters: dict, f0_floor: float, window: int) -> None:
    voice, _ = small_voice(**hyperparameters)
    plan, config = crop_plan(voice, window, f0_floor), voice.generator
    edge, scales = (config.kernel_size - 1) // 2, config.upsample_scales
    reach = dict(zip(config.pitch_dependent_convs, largest_offsets(voice, f0_floor), strict=True))
    hop = voice.hop_size
    seen = Span(1, -plan.halo, window + plan.halo)
    assert covers(seen, plan.hidden.widen(edge))
    assert covers(Span(hop, seen.start * hop, seen.stop * hop), plan.excitation[0].widen(edge))
    previous = plan.hidden
    for stage, spans in enumerate(plan.source):
        assert covers(previous, spans.units[0].before_up(scales[stage]))
        assert covers(plan.excitation[-stage - 1], spans.units[0])
        for index, dilation in enumerate(config.source_dilations[stage]):
            after = spans.units[index + 1] if index + 1 < len(spans.units) else spans.output
            assert covers(spans.taps[index], after.widen(int(config.source_additional_convs)))
            assert covers(spans.units[index], spans.taps[index].widen(reach[stage, dilation]))
        previous = spans.output
    assert covers(plan.source[-1].output, plan.embeddings[0])
    previous = plan.hidden
    for stage, filters in enumerate(plan.filter):
        assert covers(previous, filters.input.before_up(scales[stage]))
        assert covers(plan.embeddings[-stage - 1], filters.input)
        previous = filters.output
    for chain in (plan.excitation, plan.embeddings):
        for high, low, scale in zip(chain[:-1], chain[1:], reversed(scales[1:]), strict=True):
            assert covers(high, low.before_down(scale))
    assert covers(plan.filter[-1].output, Span(hop, 0, window * hop).widen(edge))


def test_halo_falls_as_the_floor_rises() -> None:
    voice, _ = small_voice()
    halos = [crop_plan(voice, 64, floor).halo for floor in (35.0, 50.0, 70.0, 100.0, 200.0, 400.0, 800.0)]
    assert halos == sorted(halos, reverse=True)
    assert len(set(halos)) == len(halos)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("f0_floor", [50.0, 70.0, 400.0])
def test_halo_does_not_depend_on_the_window(mode: PdIndexing, f0_floor: float) -> None:
    voice, _ = small_voice(mode)
    assert len({crop_plan(voice, window, f0_floor).halo for window in (1, 2, 31, 512, 4096)}) == 1


def default_plan(f0_floor: float = 70.0) -> tuple[Voice, Generator, CropPlan]:
    voice, generator = random_voice()
    return voice, generator, crop_plan(voice, 512, f0_floor)


def test_halos_of_the_default_voice() -> None:
    _, _, plan = default_plan()
    assert plan.halo == 216
    assert plan.input_frames == 944
    after_source = [round(stage.output.halo_frames) for stage in plan.source]
    assert after_source == sorted(after_source, reverse=True)
    assert after_source[0] < 0.5 * plan.halo  # most of the reach lies in the first stage, the cheapest one


@pytest.mark.parametrize(
    ("window", "f0_floor", "message"),
    [
        pytest.param(0, 70.0, "window of 0 frames, expected at least 1", id="no-window"),
        pytest.param(512, 0.0, "f0_floor of 0 Hz, expected at least 1 Hz", id="zero-floor"),
        pytest.param(512, -5.0, "f0_floor of -5 Hz, expected at least 1 Hz", id="negative-floor"),
        pytest.param(512, float("nan"), "f0_floor of nan Hz, expected at least 1 Hz", id="nan-floor"),
    ],
)
def test_bad_plan_is_refused(window: int, f0_floor: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crop_plan(small_voice()[0], window, f0_floor)

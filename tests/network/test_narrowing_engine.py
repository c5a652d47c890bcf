"""The narrowing engine on windows equals the generator on the whole utterance."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.bf16 import Bf16
from benchmarks.tracks import lengths, recordings
from preprocess import Windows, condition
from preprocess.voice import PdIndexing, Voice
from preprocess.windows import split
from sifigan_triton.network.crop_plan import Span
from sifigan_triton.network.generator import Generator
from sifigan_triton.network.narrowing_engine import NarrowingEngine, PolyphaseUpsample
from sifigan_triton.network.time_major_engine import TimeMajorEngine
from sifigan_triton.quality import snr_db
from tests.small_voice import (
    FloatArray,
    Inputs,
    random_inputs,
    run_engine,
    run_generator,
    small_settings,
    small_voice,
)

MODES: list[PdIndexing] = ["reflect", "zero"]
EXACT_DB = 110.0
"""Rounding alone leaves 120 dB and more on the small voice; one index that is off by one leaves 18 to 33 dB."""


def windowed_snr(voice: Voice, generator: Generator, inputs: Inputs, window: int, f0_floor: float) -> float:
    settings, plan = small_settings(voice, window, f0_floor)
    reference = run_generator(generator, inputs)
    windows = run_engine(NarrowingEngine(generator, voice, plan), split(*inputs, settings))
    return snr_db(reference, windows.reshape(-1)[: reference.size])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("window", "f0_floor"), [(32, 400.0), (64, 100.0)], ids=["W32-400Hz", "W64-100Hz"])
@pytest.mark.parametrize("length", lengths(1))
def test_windows_equal_full_length(mode: PdIndexing, window: int, f0_floor: float, length: str) -> None:
    voice, generator = small_voice(mode)
    inputs = random_inputs(voice, lengths(window)[length], f0_floor)
    assert windowed_snr(voice, generator, inputs, window, f0_floor) >= EXACT_DB


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "hyperparameters",
    [
        pytest.param({"share_upsamples": True}, id="shared-upsamples"),
        pytest.param({"share_downsamples": True}, id="shared-downsamples"),
        pytest.param({"filter_additional_convs": True}, id="filter-additional"),
        pytest.param({"source_additional_convs": False}, id="no-source-additional"),
        pytest.param({"bias": False}, id="no-bias"),
        pytest.param({"kernel_size": 3}, id="narrow-ends"),
        pytest.param({"upsample_scales": (2, 3, 4, 5)}, id="other-scales"),
        pytest.param({"filter_dilations": ((1,), (1, 3), (1, 3, 7))}, id="uneven-blocks"),
        pytest.param({"source_dilations": ((1, 2), (1,), (1, 4), (2,))}, id="other-source"),
    ],
)
def test_variants_equal_full_length(mode: PdIndexing, hyperparameters: dict[str, Any]) -> None:
    voice, generator = small_voice(mode, **hyperparameters)
    assert windowed_snr(voice, generator, random_inputs(voice, 177), 32, 400.0) >= EXACT_DB


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("window", [1, 3, 50])
def test_odd_windows_equal_full_length(mode: PdIndexing, window: int) -> None:
    voice, generator = small_voice(mode)
    assert windowed_snr(voice, generator, random_inputs(voice, 2 * window + 11), window, 400.0) >= EXACT_DB


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("frames", [3, 177])
def test_unvoiced_utterance_equals_full_length(mode: PdIndexing, frames: int) -> None:
    voice, generator = small_voice(mode)
    excitation, features, offsets = random_inputs(voice, frames)
    unvoiced = np.broadcast_to(np.array([d for _, d in voice.generator.pitch_dependent_convs])[:, None], offsets.shape)
    inputs = (excitation, features, unvoiced.astype(np.int32))
    assert windowed_snr(voice, generator, inputs, 32, 400.0) >= EXACT_DB


@pytest.mark.parametrize("mode", MODES)
def test_one_wrong_index_fails_the_bound(mode: PdIndexing) -> None:
    """The control: the bound would notice a single frame's offset that is off by one sample, in any layer."""
    voice, generator = small_voice(mode)
    inputs = random_inputs(voice, 50)
    reference = run_generator(generator, inputs)
    for row in range(10):
        offsets = inputs[2].copy()
        offsets[row, 25] += 1
        assert snr_db(reference, run_generator(generator, (*inputs[:2], offsets))) < EXACT_DB - 30.0, f"row {row}"


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_of_windows_equals_the_windows_one_by_one(mode: PdIndexing) -> None:
    voice, generator = small_voice(mode)
    settings, plan = small_settings(voice)
    engine = NarrowingEngine(generator, voice, plan)
    windows = split(*random_inputs(voice, 177), settings)
    together = run_engine(engine, windows)
    assert together.shape == (6, 1, 32 * 120)
    for index in range(6):
        alone = Windows(**{name: values[index : index + 1] for name, values in vars(windows).items()})
        assert snr_db(together[index], run_engine(engine, alone)[0]) >= EXACT_DB


@pytest.mark.parametrize("mode", MODES)
def test_values_beyond_the_utterance_do_not_matter(mode: PdIndexing) -> None:
    """What `split` puts beyond the utterance's ends is masked, bit by bit."""
    voice, generator = small_voice(mode)
    settings, plan = small_settings(voice)
    engine, frames = NarrowingEngine(generator, voice, plan), 40
    windows = split(*random_inputs(voice, frames), settings)
    random, hop = np.random.default_rng(0), voice.hop_size
    changed = {name: values.copy() for name, values in vars(windows).items()}
    for index, (begin, end) in enumerate(windows.bounds):
        outside = np.ones(settings.input_frames, bool)
        outside[max(begin, 0) : end] = False
        assert outside.any()
        changed["features"][index][:, outside] = random.normal(0.0, 100.0, (43, outside.sum()))
        changed["excitation"][index][:, np.repeat(outside, hop)] = random.normal(0.0, 100.0, outside.sum() * hop)
        changed["offsets"][index][:, outside] = random.integers(1, 10_000, (10, outside.sum()))
    expected, got = run_engine(engine, windows), run_engine(engine, Windows(**changed))
    np.testing.assert_array_equal(got.reshape(-1)[: frames * hop], expected.reshape(-1)[: frames * hop])


@pytest.mark.parametrize(
    ("dtype", "bound_db"), [(torch.float16, 40.0), (torch.bfloat16, 22.0), (torch.float64, 115.0)], ids=str
)
def test_output_is_float32_whatever_the_weights(dtype: torch.dtype, bound_db: float) -> None:
    voice, generator = small_voice()
    settings, plan = small_settings(voice)
    inputs = random_inputs(voice, 60)
    output = run_engine(NarrowingEngine(deepcopy(generator).to(dtype), voice, plan), split(*inputs, settings))
    assert output.dtype == np.float32
    reference = run_generator(generator, inputs)
    assert snr_db(reference, output.reshape(-1)[: reference.size]) >= bound_db


@pytest.mark.parametrize("scale", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@torch.no_grad()
def test_polyphase_equals_the_transposed_convolution(scale: int, bias: bool) -> None:
    pad = scale // 2 + scale % 2
    layer = torch.nn.ConvTranspose1d(6, 4, 2 * scale, scale, padding=pad, output_padding=scale % 2, bias=bias)
    x = torch.randn(2, 6, 60)
    expected = layer(x)
    for start, stop in ((30, 31), (31, 50), (60, 97)):
        target = Span(scale, start, stop)
        source = target.before_up(scale)
        got = PolyphaseUpsample(layer)(x[:, :, source.start : source.stop], source, target)
        torch.testing.assert_close(got, expected[:, :, start:stop], rtol=0.0, atol=1e-5)


def fp16_factor_offsets(voice: Voice, f0: FloatArray) -> np.ndarray:
    """Return the offsets that follow from dilation factors rounded to FP16, as feeding them to an FP16 engine does."""
    config = voice.generator
    stages = [stage for stage, _ in config.pitch_dependent_convs]
    dilations = np.array([dilation for _, dilation in config.pitch_dependent_convs], np.float32)[:, None]
    factors = voice.sample_rate / np.array(voice.dense_factors)[stages, None] / f0
    return np.maximum((factors.astype(np.float16).astype(np.float32) * dilations).astype(np.int32), 1)


@pytest.mark.parametrize(("name", "wrong_db"), [("full_voice", 30.0), ("demo_voice", 60.0)])
def test_bf16_needs_integer_offsets(request: pytest.FixtureRequest, name: str, wrong_db: float) -> None:
    """`openvino-bf16` keeps 40 dB with integer offsets; offsets from FP16 factors alone change the audio."""
    voice, generator = request.getfixturevalue(name)
    settings, plan = small_settings(voice, window=64, f0_floor=200.0)
    f0 = np.geomspace(200.0, 800.0, 64).astype(np.float32)
    sung = recordings().first(64)
    excitation, features, offsets = condition(f0, sung.mcep, sung.bap, voice)
    reference = run_generator(generator, (excitation, features, offsets))
    with Bf16():
        engine = TimeMajorEngine(generator, voice, plan, fast_channels=None)
        reduced = run_engine(engine, split(excitation, features, offsets, settings))
    assert snr_db(reference, reduced.reshape(-1)) >= 40.0

    other_offsets = fp16_factor_offsets(voice, f0)
    assert snr_db(reference, run_generator(generator, (excitation, features, other_offsets))) < wrong_db


def test_a_far_away_end_does_not_change_the_indices() -> None:
    """Windows deep inside an hour-long utterance keep small indices: some runtimes compute them in FP32."""
    voice, generator = small_voice()
    settings, plan = small_settings(voice)
    frames = 40 * settings.window
    inputs = random_inputs(voice, frames)
    windows = split(*inputs, settings)
    assert abs(windows.bounds).max() <= 2 * plan.input_frames
    output = run_engine(NarrowingEngine(generator, voice, plan), windows)
    assert snr_db(run_generator(generator, inputs), output.reshape(-1)) >= EXACT_DB

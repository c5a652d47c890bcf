"""The time-major engine equals the generator on the whole utterance, in PyTorch and in OpenVINO."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch

from preprocess import Windows
from preprocess.names import STATIC_INPUTS
from preprocess.voice import PdIndexing
from preprocess.windows import split
from sifigan_triton.network import export
from sifigan_triton.network.crop_plan import Span
from sifigan_triton.network.export import export_cpu_onnx, run_onnx
from sifigan_triton.network.time_major_engine import (
    OneChannelConv,
    PhasesInRows,
    StridedConv,
    TimeMajorEngine,
    fast_form,
)
from sifigan_triton.network.time_major_layers import FastConv
from sifigan_triton.quality import snr_db
from sifigan_triton.repository.runtimes.openvino_runtime import Engine
from tests.small_voice import (
    one_thread,
    random_inputs,
    run_engine,
    run_generator,
    small_settings,
    small_spec,
    small_voice,
)

MODES: list[PdIndexing] = ["reflect", "zero"]
EXACT_DB = 108.0
"""With 16 channels, Toom-Cook everywhere: 112 to 120 dB, 121 to 124 without; a wrong index leaves 18 to 33 dB."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def windowed_snr(mode: PdIndexing, frames: int, fast_channels: int | None = 2, **hyperparameters: Any) -> float:
    voice, generator = small_voice(mode, **hyperparameters)
    settings, plan = small_settings(voice)
    inputs = random_inputs(voice, frames)
    reference = run_generator(generator, inputs)
    engine = TimeMajorEngine(generator, voice, plan, fast_channels)
    return snr_db(reference, run_engine(engine, split(*inputs, settings)).reshape(-1)[: reference.size])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("frames", [1, 2, 31, 33, 177])
@pytest.mark.parametrize("fast_channels", [2, None], ids=["toom-cook", "plain"])
def test_windows_equal_full_length(mode: PdIndexing, frames: int, fast_channels: int | None) -> None:
    assert windowed_snr(mode, frames, fast_channels) >= EXACT_DB


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
        pytest.param({"filter_dilations": ((1,), (1, 2), (1, 3, 7))}, id="uneven-blocks"),
        pytest.param({"filter_kernel_sizes": (3, 7, 11)}, id="wide-kernels"),
    ],
)
def test_variants_equal_full_length(hyperparameters: dict[str, Any]) -> None:
    assert windowed_snr("reflect", 70, **hyperparameters) >= EXACT_DB


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_of_windows_equals_the_windows_one_by_one(mode: PdIndexing) -> None:
    voice, generator = small_voice(mode)
    settings, plan = small_settings(voice)
    engine, windows = TimeMajorEngine(generator, voice, plan, 2), split(*random_inputs(voice, 90), settings)
    together = run_engine(engine, windows)
    for index in range(3):
        alone = Windows(**{name: values[index : index + 1] for name, values in vars(windows).items()})
        assert snr_db(together[index], run_engine(engine, alone)[0]) >= EXACT_DB


def test_values_beyond_the_utterance_do_not_matter() -> None:
    """Toom-Cook sums up rows beyond the utterance and takes them away again: they are masked before, bit by bit."""
    voice, generator = small_voice()
    settings, plan = small_settings(voice)
    engine, frames = TimeMajorEngine(generator, voice, plan, 2), 20
    windows = split(*random_inputs(voice, frames), settings)
    changed = {name: values.copy() for name, values in vars(windows).items()}
    outside = np.ones(settings.input_frames, bool)
    outside[windows.bounds[0, 0] : windows.bounds[0, 1]] = False
    changed["features"][0][:, outside] = 1e4
    changed["excitation"][0][:, np.repeat(outside, voice.hop_size)] = 1e4
    changed["offsets"][0][:, outside] = 7
    expected, got = run_engine(engine, windows), run_engine(engine, Windows(**changed))
    samples = frames * voice.hop_size
    np.testing.assert_array_equal(got.reshape(-1)[:samples], expected.reshape(-1)[:samples])


def in_two_streams(path: Path, named: dict[str, Any]) -> Any:
    """Run the first window in one of two streams, where OpenVINO errs in sums of constants that it did not fold."""
    core, first = ov.Core(), {name: values[:1] for name, values in named.items()}
    model = core.read_model(path)
    model.reshape({name: list(values.shape) for name, values in first.items()})
    properties = {"NUM_STREAMS": 2, "INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": "f32"}
    return core.compile_model(model, "CPU", properties)(first)[0]


def test_exported_engine_in_openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "FAST_CHANNELS", 8)
    voice, generator = small_voice("zero", filter_kernel_sizes=(5,), filter_dilations=((1, 3),))
    spec = small_spec(voice, generator)
    export_cpu_onnx(spec, tmp_path / "model.onnx", "fp32")
    inputs = random_inputs(voice, 60)
    windows, reference = split(*inputs, spec.settings), run_generator(generator, inputs)
    named = {name: getattr(windows, name) for name in STATIC_INPUTS}
    engine = Engine(tmp_path, "fp32", {name: list(values.shape[1:]) for name, values in named.items()})
    rows = [{name: values[i : i + 1] for name, values in named.items()} for i in range(len(windows.bounds))]
    output = np.concatenate([engine.run(row) for row in rows])  # it takes them one by one
    assert snr_db(reference, output.reshape(-1)[: reference.size]) >= EXACT_DB
    together = run_onnx(tmp_path / "model.onnx", windows)  # the batch axis is dynamic
    assert snr_db(reference, together.reshape(-1)[: reference.size]) >= EXACT_DB
    np.testing.assert_array_equal(in_two_streams(tmp_path / "model.onnx", named), output[:1])


@pytest.mark.parametrize("scale", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("fast_channels", [6, None], ids=["toom-cook", "plain"])
@torch.no_grad()
def test_phases_in_rows_equal_the_transposed_convolution(scale: int, bias: bool, fast_channels: int | None) -> None:
    padding = scale // 2 + scale % 2
    layer = torch.nn.ConvTranspose1d(6, 4, 2 * scale, scale, padding=padding, output_padding=scale % 2, bias=bias)
    x = torch.randn(2, 6, 60)
    expected = layer(x).transpose(1, 2)
    for start, stop in ((30, 31), (31, 50), (60, 97)):
        target = Span(scale, start, stop)
        source = target.before_up(scale)
        form = PhasesInRows(layer, fast_channels)
        assert (form.fast is not None) == (fast_channels is not None)
        got = form(x[:, :, source.start : source.stop].transpose(1, 2), source, target)
        torch.testing.assert_close(got, expected[:, start:stop], rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "form"),
    [
        pytest.param(torch.nn.Conv1d(8, 8, 3, dilation=5), FastConv, id="3x5"),
        pytest.param(torch.nn.Conv1d(8, 8, 1), type(None), id="1"),
        pytest.param(torch.nn.Conv1d(4, 8, 4, 2), StridedConv, id="twice-the-stride"),  # blocks of 8 channels
        pytest.param(torch.nn.Conv1d(3, 8, 4, 2), type(None), id="small-blocks"),
        pytest.param(torch.nn.Conv1d(8, 4, 4, 2), type(None), id="few-output-channels"),
        pytest.param(torch.nn.Conv1d(8, 8, 3, 2), type(None), id="other-stride"),
        pytest.param(torch.nn.Conv1d(8, 8, 4, 2, dilation=3), type(None), id="dilated-stride"),
    ],
)
def test_layers_take_the_form_that_gains(layer: torch.nn.Conv1d, form: type) -> None:
    assert type(fast_form(layer, 8)) is form
    assert fast_form(layer, None) is None


@pytest.mark.parametrize("stride", [2, 3, 4, 5])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@torch.no_grad()
def test_strided_convolution_equals_the_plain_one(stride: int, bias: bool) -> None:
    layer = torch.nn.Conv1d(6, 4, 2 * stride, stride, bias=bias)
    for blocks in (2, 3, 30):
        x = torch.randn(2, 6, blocks * stride)
        got = StridedConv(layer)(x.transpose(1, 2), blocks * stride)
        torch.testing.assert_close(got, layer(x).transpose(1, 2), rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("width", [3, 7])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@torch.no_grad()
def test_one_channel_convolution_equals_the_plain_one(width: int, bias: bool) -> None:
    layer = torch.nn.Conv1d(1, 4, width, bias=bias)
    for length in (width, width + 1, 2 * width, 60):
        x = torch.randn(2, 1, length)
        got = OneChannelConv(layer)(x.transpose(1, 2), length)
        torch.testing.assert_close(got, layer(x).transpose(1, 2), rtol=0.0, atol=1e-5)

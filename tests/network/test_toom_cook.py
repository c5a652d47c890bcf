"""Toom-Cook convolution: its matrices, and the layer made of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from sifigan_triton.network.time_major_layers import OUTPUTS, WIDTHS, FastConv, is_fast
from sifigan_triton.network.toom_cook import toom_cook
from sifigan_triton.quality import snr_db
from tests.small_voice import one_thread


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.mark.parametrize("width", range(2, 8))
@pytest.mark.parametrize("outputs", [1, 2, 3, 4])
def test_matrices_convolve(outputs: int, width: int) -> None:
    method, random = toom_cook(outputs, width), np.random.default_rng(0)
    x, w = random.normal(size=outputs + width - 1), random.normal(size=width)
    got = method.output @ ((method.weight @ w) * (method.input @ x))
    np.testing.assert_allclose(got, np.correlate(x, w, "valid"), rtol=0.0, atol=1e-11)


@pytest.mark.parametrize("width", WIDTHS)
def test_factors_are_balanced(width: int) -> None:
    """Large factors next to small ones would cost precision."""
    method = toom_cook(OUTPUTS, width)
    for factors in (method.input, method.output.T):
        assert (np.abs(factors).max(axis=1) < 1.5).all()
        assert (np.abs(factors).max(axis=1) > 0.7).all()


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("dilation", [1, 3, 5, 7])
@pytest.mark.parametrize(("width", "exact_db"), [(2, 126.0), (3, 124.0), (5, 116.0), (7, 108.0)])
@torch.no_grad()
def test_layer_equals_the_plain_convolution(width: int, exact_db: float, dilation: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer, reach = nn.Conv1d(24, 16, width, dilation=dilation, bias=bias), (width - 1) * dilation
    for count in (1, 2, 3, 4, 5, 50):
        x = torch.randn(2, 24, reach + count)
        expected = layer.double()(x.double())
        layer.float()
        got = FastConv(layer.weight, layer.bias, dilation)(x.transpose(1, 2), reach + count).transpose(1, 2)
        assert got.shape == expected.shape
        assert snr_db(expected.numpy(), got.numpy()) >= exact_db, f"{count} samples"


@pytest.mark.parametrize(
    ("shape", "dilation", "fast"),
    [
        pytest.param((8, 8, 2), 1, True, id="2"),
        pytest.param((8, 8, 3), 1, True, id="3"),
        pytest.param((8, 8, 7), 5, True, id="7x5"),
        pytest.param((8, 8, 1), 1, False, id="1"),
        pytest.param((8, 8, 9), 1, False, id="too-wide"),
        pytest.param((8, 8, 3), 2, False, id="even-dilation"),
        pytest.param((7, 8, 3), 1, False, id="few-channels"),
        pytest.param((8, 7, 3), 1, False, id="few-output-channels"),
    ],
)
def test_layers_that_gain(shape: tuple[int, ...], dilation: int, fast: bool) -> None:
    assert is_fast(torch.zeros(shape), dilation, least_channels=8) is fast

"""A convolution with half of the multiplications and fewer: Toom-Cook over groups of samples, in matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sifigan_triton.toom_cook import toom_cook

OUTPUTS = 4
"""Samples that Toom-Cook computes together: 2 to 2.8 times fewer multiplications for widths 3 to 7."""
WIDEST = 7
"""With 4 outputs, the widest convolution whose rounding errors stay near those of a plain one in FP32."""


def is_fast(layer: nn.Module, least_channels: int) -> bool:
    """Return whether `FastConv` can compute a layer and gains by it."""
    if not isinstance(layer, nn.Conv1d) or layer.stride[0] > 1 or not 2 < layer.kernel_size[0] <= WIDEST:
        return False
    return min(layer.in_channels, layer.out_channels) >= least_channels and layer.dilation[0] % 2 == 1


class FastConv(nn.Module):
    """A convolution of stride 1, without padding.

    Output j of group q is sample OUTPUTS q + d j, with the dilation d: as d is odd, each sample is in exactly one
    group. So all groups are computed at once, from rows that lie OUTPUTS apart, whatever the dilation.
    """

    def __init__(self, layer: nn.Conv1d) -> None:
        """Transform the weights of `layer`, (C_out, C_in, width), in FP64."""
        super().__init__()
        self.width, self.dilation = layer.kernel_size[0], layer.dilation[0]
        self.method = toom_cook(OUTPUTS, self.width)
        weight = torch.einsum("pk,oik->pio", torch.from_numpy(self.method.weight), layer.weight.detach().double())
        points = weight.to(layer.weight.dtype)
        self.weights = nn.ParameterList([nn.Parameter(point.contiguous()) for point in points])  # (C_in, C_out) each
        self.bias = layer.bias

    def forward(self, x: Tensor, length: int) -> Tensor:
        """Convolve (B, length, C_in) -> (B, length - (width - 1) * dilation, C_out)."""
        taken, given = (torch.from_numpy(rows).to(x.device) for rows in self._rows(length))
        inputs = torch.tensor_split(x.index_select(1, taken), len(self.weights), dim=1)
        products = [
            torch.matmul(_combine(row, inputs), weight)
            for row, weight in zip(self.method.input, self.weights, strict=True)
        ]
        outputs = [_combine(row, products) for row in self.method.output]
        if self.bias is not None:
            outputs = [output + self.bias for output in outputs]
        return torch.cat(outputs, dim=1).index_select(1, given)

    def _rows(self, length: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return which rows to take, input by input and group by group, and which result makes each sample."""
        samples = np.arange(length - (self.width - 1) * self.dilation)
        output = samples * pow(self.dilation, -1, OUTPUTS) % OUTPUTS
        group = (samples - output * self.dilation) // OUTPUTS
        groups = np.arange(group.min(), group.max() + 1)
        taken = OUTPUTS * groups + self.dilation * np.arange(len(self.weights))[:, None]
        # What lies outside makes no sample that is asked for: it cancels out, whatever finite values stand there.
        taken = taken.clip(0, length - 1).ravel()
        return taken.astype(np.int32), (output * len(groups) + group - groups[0]).astype(np.int32)


def _combine(factors: npt.NDArray[np.float64], parts: Sequence[Tensor]) -> Tensor:
    """Sum up the parts, each times its factor."""
    pairs = [(float(factor), part) for factor, part in zip(factors, parts, strict=True) if factor]
    terms = [part if factor == 1.0 else part * factor for factor, part in pairs]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total

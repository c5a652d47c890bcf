"""A convolution with fewer multiplications: Toom-Cook over groups of samples, in matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sifigan_triton.network.crop_plan import Span
from sifigan_triton.network.toom_cook import toom_cook
from sifigan_triton.network.utterance_bounds import crop

OUTPUTS = 4
"""Samples that Toom-Cook computes together: 1.6 to 2.8 times fewer multiplications for widths 2 to 7. With 8, and for
wider convolutions, rounding errors grow well beyond those of a plain convolution in FP32."""
WIDTHS = (2, 3, 5, 7)


def is_fast(weight: Tensor, dilation: int, least_channels: int) -> bool:
    """Return whether `FastConv` can compute a convolution with this weight, (C_out, C_in, width), and gains by it."""
    return weight.shape[2] in WIDTHS and min(weight.shape[:2]) >= least_channels and dilation % 2 == 1


class FastConv(nn.Module):
    """A convolution of stride 1, without padding.

    Output j of group q is sample OUTPUTS q + d j, with the dilation d: as d is odd, each sample is in exactly one
    group. So all groups are computed at once, from rows that lie OUTPUTS apart, whatever the dilation.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> None:
        """Transform the weight, (C_out, C_in, width), in FP64."""
        super().__init__()
        self.width, self.dilation = weight.shape[2], dilation
        self.method = toom_cook(OUTPUTS, self.width)
        points = torch.einsum("pk,oik->pio", torch.from_numpy(self.method.weight), weight.detach().double())
        self.weights = nn.ParameterList([nn.Parameter(point.contiguous()) for point in points.to(weight.dtype)])
        """(C_in, C_out) each"""
        self.bias = bias

    def forward(self, x: Tensor, length: int) -> Tensor:
        """Convolve (B, length, C_in) -> (B, length - (width - 1) * dilation, C_out)."""
        rows = self._rows(length)
        taken, given = (torch.from_numpy(indices).to(x.device) for indices in (rows.taken, rows.given))
        ordered, have = x.index_select(1, taken), Span(1, 0, len(rows.taken))
        inputs = [crop(ordered, have, Span(1, start, start + rows.groups), axis=1) for start in rows.starts]
        products = [
            torch.matmul(_combine(row, inputs), weight)
            for row, weight in zip(self.method.input, self.weights, strict=True)
        ]
        outputs = [_combine(row, products) for row in self.method.output]
        if self.bias is not None:
            outputs = [output + self.bias for output in outputs]
        return torch.cat(outputs, dim=1).index_select(1, given)

    def _rows(self, length: int) -> _Rows:
        """Find out where inputs and results lie: samples with one remainder by OUTPUTS side by side."""
        reach = self.dilation * np.arange(len(self.weights))
        samples = np.arange(length - reach[self.width - 1])
        output = samples * pow(self.dilation, -1, OUTPUTS) % OUTPUTS
        group = (samples - output * self.dilation) // OUTPUTS
        first, groups = int(group.min()), int(np.ptp(group)) + 1
        taken: list[int] = []
        starts = np.zeros_like(reach)
        for remainder in range(OUTPUTS):
            mine = np.flatnonzero(reach % OUTPUTS == remainder)
            if mine.size:
                shifts = first + reach[mine] // OUTPUTS
                starts[mine] = len(taken) + shifts - shifts.min()
                taken.extend(np.arange(shifts.min(), shifts.max() + groups) * OUTPUTS + remainder)
        # What lies outside makes no sample that is asked for: it cancels out, whatever finite values stand there.
        within = np.clip(taken, 0, length - 1).astype(np.int32)
        return _Rows(within, starts.tolist(), groups, (output * groups + group - first).astype(np.int32))


@dataclass(frozen=True)
class _Rows:
    """Where `FastConv` finds its inputs and leaves its results."""

    taken: npt.NDArray[np.int32]
    """Samples to take, in the order in which the inputs want them."""
    starts: list[int]
    """First row of every input in there; the next groups' follow it."""
    groups: int
    given: npt.NDArray[np.int32]
    """Which result makes each sample, of the outputs' groups one output behind the other."""


def _combine(factors: npt.NDArray[np.float64], parts: Sequence[Tensor]) -> Tensor:
    """Sum up the parts, each times its factor."""
    pairs = [(float(factor), part) for factor, part in zip(factors, parts, strict=True) if factor]
    terms = [part if factor == 1.0 else part * factor for factor, part in pairs]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total

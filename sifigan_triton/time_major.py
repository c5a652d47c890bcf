"""The narrowing engine for CPUs: activations (B, L, C), layers as matrix products, wide convolutions with Toom-Cook."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, linear

from preprocess.voice import Voice
from sifigan_triton.edges import Edges
from sifigan_triton.engine import NarrowingEngine
from sifigan_triton.generator import Generator, PitchDependentConv, counted, like, up_padding
from sifigan_triton.halo import CropPlan, Span
from sifigan_triton.toom_cook import toom_cook

FAST_CHANNELS = 128
"""Least channels for Toom-Cook: below, its sums cost more time than the multiplications that it saves."""
FAST_OUTPUTS = 4
"""Samples that Toom-Cook computes together: twice to 2.8 times fewer multiplications for widths 3 to 7."""


class RowPairs(nn.Module):
    """A layer that makes every row of its result of two adjoining rows of samples: (B, R, D) -> (B, R - 1, D')."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Take the weights, (D', 2 * D)."""
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Multiply each pair of rows with the weights."""
        return linear(torch.cat([rows[:, :-1], rows[:, 1:]], dim=2), self.weight, self.bias)


class RowUpsample(RowPairs):
    """A transposed convolution of width 2 * scale and stride scale; its phases lie one behind the other as they are."""

    def __init__(self, layer: nn.ConvTranspose1d) -> None:
        """Rearrange the weights of `layer`."""
        self.scale, self.channels = layer.stride[0], layer.out_channels
        weight = layer.weight.detach()  # (C_in, C_out, 2 * scale)
        before, own = weight[:, :, self.scale :], weight[:, :, : self.scale]
        weight = torch.cat([before, own]).permute(2, 1, 0).flatten(0, 1)  # (scale * C_out, 2 * C_in)
        super().__init__(weight, None if layer.bias is None else layer.bias.detach().repeat(self.scale))

    def forward(self, x: Tensor, source: Span, target: Span) -> Tensor:
        """Up-sample the span `source` to the span `target`: (B, L, C_in) -> (B, L', C_out)."""
        samples = super().forward(like(x, self)).reshape(-1, (source.length - 1) * self.scale, self.channels)
        first = (source.start + 1) * self.scale - up_padding(self.scale)
        return samples[:, target.start - first : target.stop - first]


class RowDownsample(RowPairs):
    """A convolution of width 2 * stride."""

    def __init__(self, layer: nn.Conv1d) -> None:
        """Rearrange the weights of `layer`, (C_out, C_in, 2 * stride)."""
        self.scale = layer.stride[0]
        weight = layer.weight.detach().transpose(1, 2).flatten(1)
        super().__init__(weight, None if layer.bias is None else layer.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Down-sample (B, (L' + 1) * stride, C_in) -> (B, L', C_out)."""
        return super().forward(x.reshape(len(x), -1, self.scale * x.shape[2]))


class FastConv(nn.Module):
    """A convolution of stride 1, without padding, by Toom-Cook.

    Sample m q + j d is output j of group q, with m outputs a group and dilation d: as long as m and d have no common
    divisor, each sample is in exactly one group, and all groups of an utterance are computed at once.
    """

    def __init__(self, layer: nn.Conv1d) -> None:
        """Transform the weights of `layer`, (C_out, C_in, width), in FP64."""
        super().__init__()
        self.width, self.dilation = layer.kernel_size[0], layer.dilation[0]
        self.method = toom_cook(FAST_OUTPUTS, self.width)
        weight = torch.einsum("pk,oik->pio", torch.from_numpy(self.method.weight), layer.weight.detach().double())
        self.weight = nn.Parameter(weight.to(layer.weight.dtype).contiguous(), requires_grad=False)  # (P, C_in, C_out)
        self.bias = layer.bias

    def forward(self, x: Tensor, length: int) -> Tensor:
        """Convolve (B, length, C_in) -> (B, length - (width - 1) * dilation, C_out)."""
        taken, given = self._rows(length)
        inputs = x.index_select(1, torch.from_numpy(taken)).split(len(taken) // len(self.weight), dim=1)
        products = [
            torch.matmul(_combine(row, inputs), weight) for row, weight in zip(self.method.input, self.weight, strict=True)
        ]
        outputs = [_combine(row, products) for row in self.method.output]
        if self.bias is not None:
            outputs = [output + self.bias for output in outputs]
        return torch.cat(outputs, dim=1).index_select(1, torch.from_numpy(given))

    def _rows(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return which input rows to take (point by point, then group by group), and which result makes each row."""
        outputs, d = FAST_OUTPUTS, self.dilation
        samples = np.arange(length - (self.width - 1) * d)
        output = samples * pow(d, -1, outputs) % outputs
        group = (samples - output * d) // outputs
        groups = np.arange(group.min(), group.max() + 1)
        taken = outputs * groups + d * np.arange(len(self.weight))[:, None]
        # Rows outside are part of no sample that is asked for: they cancel out, whatever stands in their place.
        taken = taken.clip(0, length - 1).ravel()
        return taken.astype(np.int32), (output * len(groups) + group - groups[0]).astype(np.int32)


class TimeMajorEngine(NarrowingEngine):
    """Equals `NarrowingEngine`, with every sample's channels side by side in memory."""

    time_axis = 1

    def __init__(self, generator: Generator, voice: Voice, plan: CropPlan) -> None:
        """Take over the generator's layers; arguments as in `NarrowingEngine`."""
        super().__init__(generator, voice, plan)
        self._forms: dict[nn.Module, nn.Module] = {}
        for layer in generator.modules():
            if isinstance(layer, nn.Conv1d):
                if layer.stride[0] > 1:
                    self._forms[layer] = RowDownsample(layer)
                elif _is_fast(layer):
                    self._forms[layer] = FastConv(layer)
        self._kept = nn.ModuleList(self._forms.values())

    def forward(self, excitation: Tensor, features: Tensor, offsets: Tensor, bounds: Tensor) -> Tensor:
        """Synthesise a batch of windows; arguments and result as in `NarrowingEngine`."""
        return super().forward(excitation.transpose(1, 2), features.transpose(1, 2), offsets, bounds)

    def _rearranged(self, upsamples: nn.ModuleList) -> nn.ModuleList:
        return nn.ModuleList(map(RowUpsample, upsamples))  # type: ignore[arg-type]

    def _conv(self, layer: nn.Conv1d, x: Tensor, span: Span) -> Tensor:
        form = self._forms.get(layer)
        if isinstance(form, FastConv):
            return form(x, span.length)
        if form is not None:
            return form(x)
        y = conv1d(x.transpose(1, 2), layer.weight, layer.bias, dilation=layer.dilation)
        return y.transpose(1, 2)

    def _pitch_dependent(
        self, layers: PitchDependentConv, active: Tensor, source: Span, target: Span, offsets: Tensor, edges: Edges
    ) -> Tensor:
        taps = self._taps(source, target, offsets, edges)
        own = torch.arange(target.start - source.start, target.stop - source.start, dtype=torch.int32)
        where = torch.stack([own.view(1, 1, -1).expand_as(taps[0][0]), *(where for where, _ in taps)], dim=-1)
        where = where + counted(where[:, :, :1, :1], dim=0) * source.length
        rows = active.reshape(-1, active.shape[2]).index_select(0, where.flatten())
        rows = rows.view(-1, target.length, 3, active.shape[2])
        if taps[0][1] is not None:
            rows = rows * torch.stack([torch.ones_like(taps[0][1]), *(within for _, within in taps)], dim=-1).transpose(1, 2).transpose(2,3).to(rows.dtype)
        convs = (layers.current, layers.past, layers.future)
        weight = torch.cat([conv.weight[:, :, 0] for conv in convs], dim=1)  # (C, 3 * C)
        bias = None if layers.current.bias is None else sum(conv.bias for conv in convs)
        return linear(rows.flatten(2), weight, bias)


def _is_fast(layer: nn.Conv1d) -> bool:
    square = layer.in_channels == layer.out_channels and layer.in_channels >= FAST_CHANNELS
    return square and 2 < layer.kernel_size[0] <= 7 and np.gcd(layer.dilation[0], FAST_OUTPUTS) == 1


def _combine(factors: np.ndarray, parts: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """Sum up the parts, each times its factor."""
    terms = [part if factor == 1.0 else part * float(factor) for factor, part in zip(factors, parts, strict=True) if factor]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total

"""The narrowing engine for CPUs: activations (B, L, C), layers as matrix products, wide convolutions with Toom-Cook."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, linear, pad

from preprocess.voice import Voice
from sifigan_triton.edges import Edges, crop
from sifigan_triton.engine import NarrowingEngine
from sifigan_triton.generator import Generator, PitchDependentConv, counted, like, up_padding
from sifigan_triton.halo import CropPlan, Span
from sifigan_triton.toom_cook import toom_cook

FAST_CHANNELS = 128
"""Least channels for Toom-Cook: below, its sums cost more time than the multiplications that it saves."""
FAST_OUTPUTS = 4
"""Samples that Toom-Cook computes together: twice to 2.8 times fewer multiplications for widths 3 to 7."""


class PhasesInRows(nn.Module):
    """A transposed convolution of width 2 * scale and stride scale, as a convolution whose channels are the phases.

    In (B, L, C) the phases of a sample already lie one behind the other: nothing has to be interleaved.
    """

    def __init__(self, layer: nn.ConvTranspose1d) -> None:
        """Rearrange the weights of `layer`: phase r takes weight r of its sample, r + scale of the one before."""
        super().__init__()
        self.scale, self.channels = layer.stride[0], layer.out_channels
        weight = layer.weight.detach()  # (C_in, C_out, 2 * scale)
        before, own = weight[:, :, self.scale :], weight[:, :, : self.scale]
        taps = torch.stack([before, own], dim=-1).permute(2, 1, 0, 3).flatten(0, 1)  # (scale * C_out, C_in, 2)
        self.weight = nn.Parameter(taps.contiguous())
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().repeat(self.scale))

    def forward(self, x: Tensor, source: Span, target: Span) -> Tensor:
        """Up-sample the span `source` to the span `target`: (B, L, C_in) -> (B, L', C_out)."""
        phases = conv1d(like(x, self).transpose(1, 2), self.weight, self.bias).transpose(1, 2)
        samples = phases.reshape(-1, (source.length - 1) * self.scale, self.channels)
        first = (source.start + 1) * self.scale - up_padding(self.scale)
        return crop(samples, Span(target.rate, first, first + (source.length - 1) * self.scale), target, axis=1)


class OneChannelConv(nn.Module):
    """A convolution of a single channel, as a matrix product of pairs of blocks: its result is time-major at once."""

    def __init__(self, layer: nn.Conv1d) -> None:
        """Write the weights of `layer`, (C_out, 1, width), as a matrix (2 * width, width * C_out) of shifted copies."""
        super().__init__()
        self.width, self.channels = layer.kernel_size[0], layer.out_channels
        weight = layer.weight.detach()[:, 0]  # (C_out, width)
        matrix = weight.new_zeros(2 * self.width, self.width, self.channels)
        for shift in range(self.width):
            matrix[shift : shift + self.width, shift] = weight.T
        self.weight = nn.Parameter(matrix.flatten(1))
        self.bias = layer.bias

    def forward(self, x: Tensor, length: int) -> Tensor:
        """Convolve (B, length, 1) -> (B, length - width + 1, C_out)."""
        count = length - self.width + 1
        blocks = -(-count // self.width) + 1
        blocks_of_x = pad(x[:, :, 0], (0, blocks * self.width - length)).reshape(-1, blocks, self.width)
        pairs = torch.cat([blocks_of_x[:, :-1], blocks_of_x[:, 1:]], dim=2)
        y = torch.matmul(pairs, self.weight).reshape(-1, (blocks - 1) * self.width, self.channels)[:, :count]
        return y if self.bias is None else y + self.bias


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
        # A list: OpenVINO 2026.4 mixes up the slices of one constant when it compiles for several streams.
        self.weights = nn.ParameterList(
            nn.Parameter(each, requires_grad=False) for each in weight.to(layer.weight.dtype).contiguous()
        )  # (C_in, C_out) for each point
        self.bias = layer.bias

    def forward(self, x: Tensor, length: int) -> Tensor:
        """Convolve (B, length, C_in) -> (B, length - (width - 1) * dilation, C_out)."""
        taken, given = self._rows(length)
        inputs = x.index_select(1, torch.from_numpy(taken)).split(len(taken) // len(self.weights), dim=1)
        products = [
            torch.matmul(_combine(row, inputs), weight)
            for row, weight in zip(self.method.input, self.weights, strict=True)
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
        taken = outputs * groups + d * np.arange(len(self.weights))[:, None]
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
            if isinstance(layer, nn.Conv1d) and _is_fast(layer):
                self._forms[layer] = FastConv(layer)
        self._forms[generator.excitation_conv] = OneChannelConv(generator.excitation_conv)
        self._kept = nn.ModuleList(self._forms.values())

    def forward(self, excitation: Tensor, features: Tensor, offsets: Tensor, bounds: Tensor) -> Tensor:
        """Synthesise a batch of windows; arguments and result as in `NarrowingEngine`."""
        return super().forward(excitation.transpose(1, 2), features.transpose(1, 2), offsets, bounds)

    def _rearranged(self, upsamples: nn.ModuleList) -> nn.ModuleList:
        return nn.ModuleList(map(PhasesInRows, upsamples))  # type: ignore[arg-type]

    def _conv(self, layer: nn.Conv1d, x: Tensor, span: Span) -> Tensor:
        if layer in self._forms:
            return self._forms[layer](x, span.length)
        return conv1d(x.transpose(1, 2), layer.weight, layer.bias, layer.stride, dilation=layer.dilation).transpose(
            1, 2
        )

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
            rows = rows * torch.stack([torch.ones_like(taps[0][1]), *(within for _, within in taps)], dim=-1).transpose(
                1, 2
            ).transpose(2, 3).to(rows.dtype)
        convs = (layers.current, layers.past, layers.future)
        weight = torch.cat([conv.weight[:, :, 0] for conv in convs], dim=1)  # (C, 3 * C)
        bias = None if layers.current.bias is None else sum(conv.bias for conv in convs)
        return linear(rows.flatten(2), weight, bias)


def _is_fast(layer: nn.Conv1d) -> bool:
    square = layer.in_channels == layer.out_channels and layer.in_channels >= FAST_CHANNELS
    return square and 2 < layer.kernel_size[0] <= 7 and np.gcd(layer.dilation[0], FAST_OUTPUTS) == 1


def _combine(factors: np.ndarray, parts: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """Sum up the parts, each times its factor."""
    terms = [
        part if factor == 1.0 else part * float(factor) for factor, part in zip(factors, parts, strict=True) if factor
    ]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total

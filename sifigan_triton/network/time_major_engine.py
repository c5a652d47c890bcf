"""The narrowing engine for CPUs: a sample's channels lie side by side, so that layers need no copies in between."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, linear, pad

from preprocess.voice import Voice
from sifigan_triton.network.crop_plan import CropPlan, Span
from sifigan_triton.network.generator import Generator, PitchDependentConv, like, up_padding
from sifigan_triton.network.narrowing_engine import NarrowingEngine
from sifigan_triton.network.time_major_layers import FastConv, is_fast
from sifigan_triton.network.utterance_bounds import Edges, crop

FAST_CHANNELS = 128
"""Least channels for Toom-Cook: with fewer, its sums cost as much time as the multiplications that it saves."""


class TimeMajorEngine(NarrowingEngine):
    """Equals `NarrowingEngine`, with activations (B, L, C).

    OpenVINO's convolutions want this layout, a tap is a row of memory, a crop is a view, and the phases of an
    up-sampled signal lie where they belong.
    """

    time_axis = 1

    def __init__(
        self, generator: Generator, voice: Voice, plan: CropPlan, fast_channels: int | None = FAST_CHANNELS
    ) -> None:
        """Take over the generator's layers.

        Args:
            generator: the trained generator; its weights are shared, except rearranged ones.
            voice: the voice's constants.
            plan: the spans of every stage, from `crop_plan`.
            fast_channels: least channels of convolutions that are computed by Toom-Cook, `None` for none: in FP32 it
                costs nothing that can be heard or measured, in BF16 some dB. Of up- and down-sampling count those of
                the blocks of samples at the lower rate.

        """
        self._fast_channels = fast_channels
        super().__init__(generator, voice, plan)
        self._forms: dict[nn.Module, FastConv | StridedConv | OneChannelConv] = {
            generator.excitation_conv: OneChannelConv(generator.excitation_conv)
        }
        for layer in generator.modules():
            if isinstance(layer, nn.Conv1d) and (form := fast_form(layer, fast_channels)) is not None:
                self._forms[layer] = form
        self.forms = nn.ModuleList(self._forms.values())

    def forward(self, excitation: Tensor, features: Tensor, offsets: Tensor, bounds: Tensor) -> Tensor:
        """Synthesise a batch of windows; arguments and result as in `NarrowingEngine`."""
        waveform = super().forward(excitation.transpose(1, 2), features.transpose(1, 2), offsets, bounds)
        return waveform.reshape(-1, 1, self.plan.window * self.voice.hop_size)  # (B, L, 1) -> (B, 1, L)

    def _rearranged(self, upsamples: nn.ModuleList) -> nn.ModuleList:
        return nn.ModuleList(PhasesInRows(layer, self._fast_channels) for layer in upsamples)  # type: ignore[arg-type]

    def _conv(self, layer: nn.Conv1d, x: Tensor, span: Span) -> Tensor:
        if layer in self._forms:
            fast: Tensor = self._forms[layer](x, span.length)
            return fast
        return conv1d(x.transpose(1, 2), layer.weight, layer.bias, layer.stride, dilation=layer.dilation).transpose(
            1, 2
        )

    def _pitch_dependent(
        self, layers: PitchDependentConv, active: Tensor, source: Span, target: Span, offsets: Tensor, edges: Edges
    ) -> Tensor:
        """Gather each sample and its taps as one row, (B, L', 3 * C), for one matrix product."""
        (past, within_past), (future, within_future) = self._taps(source, target, offsets, edges)
        begin = target.start - source.start
        own = torch.arange(begin, begin + target.length, dtype=past.dtype, device=past.device)
        column = torch.eye(3, dtype=past.dtype, device=past.device)
        # A sum, not a stack: OpenVINO concatenates integers one by one.
        where = own.unsqueeze(-1) * column[0] + past.unsqueeze(-1) * column[1] + future.unsqueeze(-1) * column[2]
        batch, _, channels = active.shape  # where: (B, 1, L', 3)
        # An arange, which OpenVINO folds away: it leaves a cumsum of constants to run, wrongly with several streams.
        first_rows = torch.arange(batch, dtype=past.dtype, device=past.device) * source.length
        where = where + first_rows.view(-1, 1, 1, 1)
        rows = active.reshape(-1, channels).index_select(0, where.flatten()).view(-1, target.length, 3, channels)
        if within_past is not None and within_future is not None:
            within = torch.stack([torch.ones_like(within_past), within_past, within_future], dim=-1)
            rows = rows * within.squeeze(1).unsqueeze(-1).to(rows.dtype)
        convs = (layers.current, layers.past, layers.future)
        weight = torch.cat([conv.weight[:, :, 0] for conv in convs], dim=1)  # (C, 3 * C)
        biases = [conv.bias for conv in convs if conv.bias is not None]
        return linear(rows.flatten(2), weight, torch.stack(biases).sum(0) if biases else None)


class PhasesInRows(nn.Module):
    """A transposed convolution of width 2 * scale and stride scale, as a convolution whose channels are the phases.

    In (B, L, C) the phases of a sample already lie one behind the other: nothing has to be interleaved.
    """

    def __init__(self, layer: nn.ConvTranspose1d, fast_channels: int | None = None) -> None:
        """Rearrange the weights of `layer`: phase r takes weight r of its sample, r + scale of the one before."""
        super().__init__()
        self.scale, self.channels = layer.stride[0], layer.out_channels
        weight = layer.weight.detach()  # (C_in, C_out, 2 * scale)
        before, own = weight[:, :, self.scale :], weight[:, :, : self.scale]
        taps = torch.stack([before, own], dim=-1).permute(2, 1, 0, 3).flatten(0, 1)  # (scale * C_out, C_in, 2)
        self.weight = nn.Parameter(taps.contiguous())
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().repeat(self.scale))
        fast = fast_channels is not None and is_fast(self.weight, 1, fast_channels)
        self.fast = FastConv(self.weight, self.bias) if fast else None

    def forward(self, x: Tensor, source: Span, target: Span) -> Tensor:
        """Up-sample the span `source` to the span `target`: (B, L, C_in) -> (B, L', C_out)."""
        x = like(x, self)
        if self.fast is None:
            phases = conv1d(x.transpose(1, 2), self.weight, self.bias).transpose(1, 2)
        else:
            phases = self.fast(x, source.length)
        length = (source.length - 1) * self.scale
        first = (source.start + 1) * self.scale - up_padding(self.scale)
        samples = phases.reshape(-1, length, self.channels)
        return crop(samples, Span(target.rate, first, first + length), target, axis=1)


class StridedConv(nn.Module):
    """A convolution of width 2 * stride, as one of width 2 over blocks of `stride` samples: (B, L, C) is a reshape."""

    def __init__(self, layer: nn.Conv1d) -> None:
        """Rearrange the weights of `layer`."""
        super().__init__()
        self.stride, self.channels = layer.stride[0], layer.in_channels
        self.conv = FastConv(_block_weight(layer), layer.bias)

    def forward(self, x: Tensor, length: int) -> Tensor:
        """Convolve (B, length, C_in) -> (B, length / stride - 1, C_out); `length`: at least two whole strides."""
        blocks, rest = divmod(length, self.stride)
        assert rest == 0
        samples: Tensor = self.conv(x.reshape(-1, blocks, self.stride * self.channels), blocks)
        return samples


def _block_weight(layer: nn.Conv1d) -> Tensor:
    """Return the weight over blocks of `stride` samples, (C_out, stride * C_in, 2)."""
    taps = layer.weight.detach().reshape(layer.out_channels, layer.in_channels, 2, layer.stride[0])
    return taps.permute(0, 3, 1, 2).flatten(1, 2)


def fast_form(layer: nn.Conv1d, fast_channels: int | None) -> FastConv | StridedConv | None:
    """Return the Toom-Cook form of a layer, if it has one and gains by it."""
    stride, dilation = layer.stride[0], layer.dilation[0]
    if fast_channels is None:
        return None
    if stride == 1:
        return FastConv(layer.weight, layer.bias, dilation) if is_fast(layer.weight, dilation, fast_channels) else None
    blocks = dilation == 1 and layer.kernel_size[0] == 2 * stride
    return StridedConv(layer) if blocks and is_fast(_block_weight(layer), 1, fast_channels) else None


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
        padded = pad(x[:, :, 0], (0, blocks * self.width - length)).reshape(-1, blocks, self.width)
        pairs = torch.cat([padded[:, :-1], padded[:, 1:]], dim=2)
        made = (blocks - 1) * self.width
        samples = torch.matmul(pairs, self.weight).reshape(-1, made, self.channels)
        samples = crop(samples, Span(1, 0, made), Span(1, 0, count), axis=1)
        return samples if self.bias is None else samples + self.bias

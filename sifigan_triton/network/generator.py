"""The SiFi-GAN generator (arXiv 2210.15533) in PyTorch; its full-length forward is the reference of this project."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from preprocess.voice import GeneratorConfig, PdIndexing
from sifigan_triton.network.indexing import inside, tap_indices

OUTPUT_SLOPE = 0.01
"""Slope in front of the last convolution: the default of `nn.LeakyReLU`, whatever the voice's `negative_slope`."""


def up_padding(scale: int) -> int:
    """Return the padding of the transposed convolution that up-samples by `scale`."""
    return scale // 2 + scale % 2


class PitchDependentConv(nn.Module):
    """Three 1x1 convolutions: of the sample itself, of its past and of its future tap (pitch-dependent dilation)."""

    def __init__(self, channels: int, bias: bool) -> None:
        """Create the taps, each `channels` -> `channels`."""
        super().__init__()
        self.current = nn.Conv1d(channels, channels, 1, bias=bias)
        self.past = nn.Conv1d(channels, channels, 1, bias=bias)
        self.future = nn.Conv1d(channels, channels, 1, bias=bias)


class SourceUnit(nn.Module):
    """Residual unit of the source network: a pitch-dependent convolution, then an ordinary one of width 3."""

    def __init__(self, channels: int, config: GeneratorConfig) -> None:
        """Create the unit's layers."""
        super().__init__()
        self.pitch_dependent = PitchDependentConv(channels, config.bias)
        self.additional = (
            nn.Conv1d(channels, channels, 3, padding=1, bias=config.bias) if config.source_additional_convs else None
        )


class FilterUnit(nn.Module):
    """Residual unit of the filter network: a dilated convolution, optionally an ordinary one behind it."""

    def __init__(self, channels: int, kernel_size: int, dilation: int, config: GeneratorConfig) -> None:
        """Create the unit's layers."""
        super().__init__()
        pad = (kernel_size - 1) // 2
        self.dilated = nn.Conv1d(
            channels, channels, kernel_size, dilation=dilation, padding=pad * dilation, bias=config.bias
        )
        self.additional = (
            nn.Conv1d(channels, channels, kernel_size, padding=pad, bias=config.bias)
            if config.filter_additional_convs
            else None
        )

    @property
    def convs(self) -> list[nn.Conv1d]:
        """The unit's convolutions in order; each follows a leaky ReLU."""
        return [self.dilated] if self.additional is None else [self.dilated, self.additional]


def _upsamples(config: GeneratorConfig) -> nn.ModuleList:
    return nn.ModuleList(
        nn.ConvTranspose1d(
            config.channels >> i,
            config.channels >> (i + 1),
            2 * scale,
            scale,
            padding=up_padding(scale),
            output_padding=scale % 2,
            bias=config.bias,
        )
        for i, scale in enumerate(config.upsample_scales)
    )


def _downsamples(config: GeneratorConfig) -> nn.ModuleList:
    """Down-sampling layers from the highest rate to the lowest in use (the public code's last layer feeds nothing)."""
    return nn.ModuleList(
        nn.Conv1d(
            config.channels >> (i + 1), config.channels >> i, 2 * scale, scale, padding=scale - 1, bias=config.bias
        )
        for i, scale in reversed(list(enumerate(config.upsample_scales))[1:])
    )


class Generator(nn.Module):
    """Source network and filter network of SiFi-GAN."""

    def __init__(self, config: GeneratorConfig, pd_indexing: PdIndexing = "reflect") -> None:
        """Create the layers with PyTorch's default initialisation.

        Args:
            config: hyperparameters of the voice.
            pd_indexing: how the pitch-dependent convolutions read beyond the ends of the utterance.

        """
        super().__init__()
        self.config = config
        self.pd_indexing = pd_indexing
        bias, edge = config.bias, (config.kernel_size - 1) // 2
        stages = range(len(config.upsample_scales))
        last = config.channels >> len(stages)
        self.input_conv = nn.Conv1d(config.in_channels, config.channels, config.kernel_size, padding=edge, bias=bias)
        self.excitation_conv = nn.Conv1d(1, last, config.kernel_size, padding=edge, bias=bias)
        self.source_downsamples = _downsamples(config)
        self.source_upsamples = _upsamples(config)
        self.source_stages: Any = nn.ModuleList(  # [stage][unit]
            nn.ModuleList(SourceUnit(config.channels >> (i + 1), config) for _ in config.source_dilations[i])
            for i in stages
        )
        self._filter_downsamples = None if config.share_downsamples else _downsamples(config)
        self._filter_upsamples = None if config.share_upsamples else _upsamples(config)
        self.filter_stages: Any = nn.ModuleList(  # [stage][block][unit]
            nn.ModuleList(
                nn.ModuleList(FilterUnit(config.channels >> (i + 1), size, d, config) for d in dilations)
                for size, dilations in zip(config.filter_kernel_sizes, config.filter_dilations, strict=True)
            )
            for i in stages
        )
        self.output_conv = nn.Conv1d(last, 1, config.kernel_size, padding=edge, bias=bias)

    @property
    def filter_upsamples(self) -> nn.ModuleList:
        """Transposed convolutions of the filter network (the source network's where the voice shares them)."""
        return self.source_upsamples if self._filter_upsamples is None else self._filter_upsamples

    @property
    def filter_downsamples(self) -> nn.ModuleList:
        """Down-sampling layers of the filter network (the source network's where the voice shares them)."""
        return self.source_downsamples if self._filter_downsamples is None else self._filter_downsamples

    def forward(self, excitation: Tensor, features: Tensor, offsets: Tensor) -> Tensor:
        """Synthesise whole utterances.

        Args:
            excitation: float (B, 1, T * hop_size), sine plus noise.
            features: float (B, in_channels, T), normalised mel-cepstrum and band aperiodicity.
            offsets: integer (B, P, T), tap distances of the P pitch-dependent convolutions, in samples at their scale's
                rate (`preprocess.f0.tap_offsets`).

        Returns:
            float32 (B, 1, T * hop_size), the waveform in [-1, 1]. Each layer computes in the precision of its own
            weights (`precision.py`); the indices are integers and the last step (tanh) is done in float32.

        """
        slope = self.config.negative_slope
        hidden = self.input_conv(like(features, self.input_conv))
        source = self._source(hidden, excitation, offsets)
        embeddings = [source]
        for down in self.filter_downsamples:
            embeddings.append(leaky_relu(down(like(embeddings[-1], down)), slope))
        for up, blocks, embedding in zip(self.filter_upsamples, self.filter_stages, reversed(embeddings), strict=True):
            first = blocks[0][0].dilated
            hidden = like(up(like(leaky_relu(hidden, slope), up)), first) + like(embedding, first)
            hidden = _mean([_filter_block(hidden, units, slope) for units in blocks])
        return torch.tanh(self.output_conv(like(leaky_relu(hidden, OUTPUT_SLOPE), self.output_conv)).float())

    def _source(self, hidden: Tensor, excitation: Tensor, offsets: Tensor) -> Tensor:
        """Run the source network: (B, C, T) -> (B, C >> scales, T * hop_size)."""
        slope = self.config.negative_slope
        embeddings = [self.excitation_conv(like(excitation, self.excitation_conv))]
        for down in self.source_downsamples:
            embeddings.append(leaky_relu(down(like(embeddings[-1], down)), slope))
        row = 0
        for stage, rate in enumerate(self.config.rates):
            up, first = self.source_upsamples[stage], self.source_stages[stage][0].pitch_dependent.current
            hidden = like(up(like(leaky_relu(hidden, slope), up)), first) + like(embeddings[-stage - 1], first)
            for unit in self.source_stages[stage]:
                offset = per_sample(offsets[:, row : row + 1], rate)
                hidden = self._source_unit(hidden, unit, offset) + hidden
                row += 1
        return hidden

    def _source_unit(self, hidden: Tensor, unit: SourceUnit, offset: Tensor) -> Tensor:
        slope = self.config.negative_slope
        active = leaky_relu(hidden, slope)
        positions = counted(offset, dim=2)
        length = positions[:, :, -1:] + 1  # a tensor: an exported graph must not hold the length of its example
        past, future = (
            self._tap(active, index, length) for index in tap_indices(positions, offset, length, self.pd_indexing)
        )
        taps = unit.pitch_dependent
        out: Tensor = taps.current(active) + taps.past(past) + taps.future(future)
        return out if unit.additional is None else unit.additional(leaky_relu(out, slope))

    def _tap(self, active: Tensor, index: Tensor, length: Tensor) -> Tensor:
        """Gather (B, C, L) at (B, 1, L); beyond the ends of the utterance (`zero` only) read zero."""
        where = index.clamp(min=0).minimum(length - 1) + counted(length, dim=0) * length
        # One index_select on (C, B * L): ten times as fast on a CPU as one gather with an index for every channel, and
        # free of copies for a batch of one.
        batch, channels, samples = active.shape
        rows = active.transpose(0, 1).reshape(channels, batch * samples)
        tap = rows.index_select(1, where.flatten()).view(channels, batch, samples).transpose(0, 1)
        return tap * inside(index, length).to(tap.dtype) if self.pd_indexing == "zero" else tap


def counted(x: Tensor, dim: int) -> Tensor:
    """Return 0, 1, 2, ... along an axis of an integer tensor, on its device and in its type.

    Unlike `torch.arange` it leaves neither a device nor a length in a traced graph.
    """
    return torch.ones_like(x).cumsum(dim, dtype=x.dtype) - 1


def like(x: Tensor, layer: Any) -> Tensor:
    """Return `x` in the precision of a layer's weights."""
    dtype = layer.weight.dtype
    return x if x.dtype == dtype else x.to(dtype)


def per_sample(offsets: Tensor, rate: int) -> Tensor:
    """Repeat the value of each frame for each of its samples: (B, 1, T) -> (B, 1, T * rate)."""
    return offsets.unsqueeze(-1).expand(-1, -1, -1, rate).flatten(2)


def _filter_block(hidden: Tensor, units: Iterable[FilterUnit], slope: float) -> Tensor:
    """Run one residual block of the filter network, (B, C, L) -> (B, C, L)."""
    for unit in units:
        out = hidden
        for conv in unit.convs:
            out = conv(leaky_relu(out, slope))
        hidden = hidden + out
    return hidden


def _mean(branches: list[Tensor]) -> Tensor:
    total = branches[0]
    for branch in branches[1:]:
        total = total + branch
    return total / len(branches)

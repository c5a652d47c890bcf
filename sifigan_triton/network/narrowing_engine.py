"""The narrowing engine: the generator on a static window, cropped between stages to what later ones still need."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, leaky_relu

from preprocess.voice import Voice
from sifigan_triton.network.crop_plan import CropPlan, FilterSpans, SourceSpans, Span
from sifigan_triton.network.generator import (
    OUTPUT_SLOPE,
    FilterUnit,
    Generator,
    PitchDependentConv,
    SourceUnit,
    like,
    per_sample,
    up_padding,
)
from sifigan_triton.network.indexing import inside, tap_indices
from sifigan_triton.network.utterance_bounds import Edges, crop


class PolyphaseUpsample(nn.Module):
    """A transposed convolution of width 2 * scale and stride scale, as a convolution of width 2 and an interleave."""

    def __init__(self, layer: nn.ConvTranspose1d) -> None:
        """Rearrange the weights of `layer`: phase r takes weight r of its sample, r + scale of the one before."""
        super().__init__()
        self.scale = layer.stride[0]
        weight = layer.weight.detach()  # (C_in, C_out, 2 * scale)
        self.channels = weight.shape[1]
        before, own = weight[:, :, self.scale :], weight[:, :, : self.scale]
        taps = torch.stack([before, own], dim=-1)  # (C_in, C_out, scale, 2)
        self.weight = nn.Parameter(taps.flatten(1, 2).transpose(0, 1).contiguous())  # (C_out * scale, C_in, 2)
        bias = None if layer.bias is None else layer.bias.detach().repeat_interleave(self.scale)
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor, source: Span, target: Span) -> Tensor:
        """Up-sample the span `source` to the span `target`: (B, C_in, L) -> (B, C_out, L')."""
        phases = conv1d(like(x, self), self.weight, self.bias)  # (B, C_out * scale, L - 1)
        samples = phases.reshape(-1, self.channels, self.scale, source.length - 1).transpose(2, 3)
        samples = samples.reshape(-1, self.channels, (source.length - 1) * self.scale)
        first = (source.start + 1) * self.scale - up_padding(self.scale)
        return samples[:, :, target.start - first : target.stop - first]


class NarrowingEngine(nn.Module):
    """Static-window form of a `Generator`; exact for every F0 from the plan's `f0_floor` up."""

    time_axis = 2
    """Axis of the samples in the activations, (B, C, L); a subclass may compute in (B, L, C)."""

    def __init__(self, generator: Generator, voice: Voice, plan: CropPlan) -> None:
        """Take over the generator's layers.

        Args:
            generator: the trained generator; its weights are shared, except the rearranged up-sampling ones.
            voice: the voice's constants.
            plan: the spans of every stage, from `crop_plan`.

        """
        super().__init__()
        self.voice, self.plan, self.generator = voice, plan, generator
        self.source_upsamples = self._rearranged(generator.source_upsamples)
        self.filter_upsamples = self._rearranged(generator.filter_upsamples)

    def forward(self, excitation: Tensor, features: Tensor, offsets: Tensor, bounds: Tensor) -> Tensor:
        """Synthesise a batch of windows, N = window + 2 * halo frames each.

        Args:
            excitation: float32 (B, 1, N * hop_size).
            features: float32 (B, in_channels, N), normalised.
            offsets: int32 (B, P, N), tap distances of the P pitch-dependent convolutions.
            bounds: int32 (B, 2), first frame of the utterance and the frame behind its last, counted from the window's
                first frame (negative where the utterance begins before the window).

        Returns:
            float32 (B, 1, window * hop_size). Each layer computes in the precision of its own weights
            (`sifigan_triton.network.precision`); the indices are integers and the last step (tanh) is done in float32.

        """
        edges = Edges(bounds, self.plan, self.time_axis)
        slope, plan, layers = self.voice.generator.negative_slope, self.plan, self.generator
        edge = (self.voice.generator.kernel_size - 1) // 2
        seen = Span(1, -plan.halo, plan.window + plan.halo)
        hidden = self._edge_conv(layers.input_conv, features, seen, plan.hidden.widen(edge), edges)
        embeddings = self._excitation_embeddings(excitation, edges)
        active = leaky_relu(edges.mask(hidden, plan.hidden), slope)
        signal = self._source(active, embeddings, offsets, edges)
        embeddings = self._down(signal, layers.filter_downsamples, plan.embeddings, plan.source[-1].output, edges)
        span = plan.hidden
        for stage, spans in enumerate(plan.filter):
            needed = spans.input.before_up(self.voice.generator.upsample_scales[stage])
            x, first = self._crop(active, span, needed), layers.filter_stages[stage][0][0].dilated
            x = like(self.filter_upsamples[stage](x, needed, spans.input), first)
            x = x + like(self._crop(embeddings[-stage - 1], plan.embeddings[-stage - 1], spans.input), first)
            x = self._filter_stage(stage, edges.mask(x, spans.input), spans, edges)
            last = stage == len(plan.filter) - 1
            active, span = leaky_relu(edges.mask(x, spans.output), OUTPUT_SLOPE if last else slope), spans.output
        output = self._conv(layers.output_conv, like(active, layers.output_conv), span)
        return torch.tanh(output.float())

    def _rearranged(self, upsamples: nn.ModuleList) -> nn.ModuleList:
        """Return the up-sampling layers in the form in which this engine computes them."""
        return nn.ModuleList(map(PolyphaseUpsample, upsamples))  # type: ignore[arg-type]

    def _crop(self, x: Tensor, have: Span, want: Span) -> Tensor:
        """Cut the span `want` out of `x`, which covers the span `have`."""
        return crop(x, have, want, self.time_axis)

    def _conv(self, layer: nn.Conv1d, x: Tensor, span: Span) -> Tensor:
        """Run a convolution without padding on `x`, which covers `span`."""
        return conv1d(x, layer.weight, layer.bias, layer.stride, dilation=layer.dilation)

    def _edge_conv(self, conv: nn.Conv1d, x: Tensor, seen: Span, needed: Span, edges: Edges) -> Tensor:
        """Run an input convolution on the span `needed` of what the engine sees."""
        x = edges.mask(self._crop(like(x, conv), seen, needed), needed)
        return self._conv(conv, x, needed)

    def _excitation_embeddings(self, excitation: Tensor, edges: Edges) -> list[Tensor]:
        """Embed the excitation at every rate, highest first: (B, 1, N * hop) -> (B, C, L) each."""
        plan, layers = self.plan, self.generator
        hop, edge = self.voice.hop_size, (self.voice.generator.kernel_size - 1) // 2
        seen = Span(hop, -plan.halo * hop, (plan.window + plan.halo) * hop)
        needed = plan.excitation[0].widen(edge)
        first = self._edge_conv(layers.excitation_conv, excitation, seen, needed, edges)
        return self._down(first, layers.source_downsamples, plan.excitation, plan.excitation[0], edges)

    def _down(self, x: Tensor, convs: nn.ModuleList, spans: tuple[Span, ...], span: Span, edges: Edges) -> list[Tensor]:
        """Down-sample `x`, which covers `span`, to all lower rates; the first result is `x` itself on `spans[0]`."""
        outputs = [self._crop(x, span, spans[0])]
        for conv, source, target in zip(convs, spans[:-1], spans[1:], strict=True):
            assert isinstance(conv, nn.Conv1d)
            needed = target.before_down(conv.stride[0])
            x = edges.mask(like(self._crop(outputs[-1], source, needed), conv), needed)
            outputs.append(leaky_relu(self._conv(conv, x, needed), self.voice.generator.negative_slope))
        return outputs

    def _source(self, active: Tensor, embeddings: list[Tensor], offsets: Tensor, edges: Edges) -> Tensor:
        """Run the source network on the masked, activated output of the input convolution."""
        plan, config = self.plan, self.voice.generator
        span, row = plan.hidden, 0
        for stage, spans in enumerate(plan.source):
            entry = spans.units[0]
            needed = entry.before_up(config.upsample_scales[stage])
            first = self.generator.source_stages[stage][0].pitch_dependent.current
            x = like(self.source_upsamples[stage](self._crop(active, span, needed), needed, entry), first)
            x = x + like(self._crop(embeddings[-stage - 1], plan.excitation[-stage - 1], entry), first)
            for index, unit in enumerate(self.generator.source_stages[stage]):
                x = self._source_unit(x, unit, _spans_of_unit(spans, index), offsets[:, row : row + 1], edges)
                row += 1
            span = spans.output
            active = leaky_relu(edges.mask(x, span), config.negative_slope)
        return x

    def _source_unit(
        self, x: Tensor, unit: SourceUnit, spans: tuple[Span, Span, Span], offsets: Tensor, edges: Edges
    ) -> Tensor:
        """Run one residual unit; the gathers of its taps narrow the span."""
        entry, tapped, output = spans
        active = leaky_relu(x, self.voice.generator.negative_slope)
        y = self._pitch_dependent(unit.pitch_dependent, active, entry, tapped, offsets, edges)
        if unit.additional is not None:
            y = edges.mask(leaky_relu(y, self.voice.generator.negative_slope), tapped)
            y = self._conv(unit.additional, y, tapped)
        return y + self._crop(x, entry, output)

    def _pitch_dependent(
        self, layers: PitchDependentConv, active: Tensor, source: Span, target: Span, offsets: Tensor, edges: Edges
    ) -> Tensor:
        """Run a pitch-dependent convolution: `active` covers `source`, the result `target`."""
        past, future = (
            self._tap(active, where, within) for where, within in self._taps(source, target, offsets, edges)
        )
        y: Tensor = layers.current(self._crop(active, source, target)) + layers.past(past) + layers.future(future)
        return y

    def _taps(self, source: Span, target: Span, offsets: Tensor, edges: Edges) -> list[tuple[Tensor, Tensor | None]]:
        """Find the past and the future tap of every sample of `target`.

        Returns:
            For each tap where it lies, int32 (B, 1, L) counted from the beginning of `source`; and, for `zero`, whether
            that is within the utterance.

        """
        rate, halo = target.rate, self.plan.halo
        offset = per_sample(offsets, rate)[:, :, target.start + halo * rate : target.stop + halo * rate]
        first, length = edges.first(rate), edges.length(rate)
        mode = self.voice.pd_indexing
        taps: list[tuple[Tensor, Tensor | None]] = []
        for index in tap_indices(edges.positions(target), offset, length, mode):
            where = (index + (first - source.start)).clamp(0, source.length - 1)
            taps.append((where, inside(index, length) if mode == "zero" else None))
        return taps

    @staticmethod
    def _tap(active: Tensor, where: Tensor, within: Tensor | None) -> Tensor:
        """Gather (B, C, L) at (B, 1, L'); what is not `within` reads zero."""
        tap = active.gather(2, where.long().expand(-1, active.shape[1], -1))
        return tap if within is None else tap * within.to(tap.dtype)

    def _filter_stage(self, stage: int, x: Tensor, spans: FilterSpans, edges: Edges) -> Tensor:
        """Average the residual blocks of one stage; `x` is masked and covers the stage's input span."""
        blocks = self.generator.filter_stages[stage]
        outputs = [self._filter_block(x, units, spans, edges) for units in blocks]
        total = outputs[0]
        for output in outputs[1:]:
            total = total + output
        return total * (1.0 / len(outputs))

    def _filter_block(self, x: Tensor, units: list[FilterUnit], spans: FilterSpans, edges: Edges) -> Tensor:
        """Run one residual block: convolutions without padding, each narrowing the span by its own reach."""
        span, slope = spans.input, self.voice.generator.negative_slope
        for index, unit in enumerate(units):
            y, inner = x, span
            for conv in unit.convs:
                y = leaky_relu(y if y is x else edges.mask(y, inner), slope)
                y = self._conv(conv, y, inner)
                inner = inner.widen(-(conv.kernel_size[0] - 1) // 2 * conv.dilation[0])
            x = y + self._crop(x, span, inner)
            span = inner
            if index < len(units) - 1:
                x = edges.mask(x, span)
        return self._crop(x, span, spans.output)


def _spans_of_unit(spans: SourceSpans, index: int) -> tuple[Span, Span, Span]:
    """Return the input, tap and output span of one residual unit."""
    output = spans.units[index + 1] if index + 1 < len(spans.units) else spans.output
    return spans.units[index], spans.taps[index], output

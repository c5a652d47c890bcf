"""Arithmetic of the narrowing engine, stage by stage, and the table that a verbose build shows."""

from __future__ import annotations

from dataclasses import dataclass

from preprocess.voice import Voice
from sifigan_triton.network.crop_plan import CropPlan, Span


@dataclass(frozen=True)
class StageCost:
    """Multiply-adds of one stage for one window."""

    name: str
    span: Span
    """What the stage yields."""
    macs: int
    """Multiply-adds with the plan's halos."""
    bare_macs: int
    """Multiply-adds for the window alone, without any halo."""


def stage_costs(voice: Voice, plan: CropPlan) -> list[StageCost]:
    """Count the multiply-adds of every stage for one window."""
    return [*_input_costs(voice, plan), *_source_costs(voice, plan), *_filter_costs(voice, plan)]


def format_plan(voice: Voice, plan: CropPlan) -> str:
    """Return the crop plan as a text table: stage, rate, halo, share of the arithmetic."""
    costs = stage_costs(voice, plan)
    total, bare = sum(c.macs for c in costs), sum(c.bare_macs for c in costs)
    lines = [
        f"window {plan.window} frames, f0_floor {plan.f0_floor:g} Hz, halo {plan.halo} frames: "
        f"the engine sees {plan.input_frames} frames",
        f"{'stage':<18}{'rate kHz':>9}{'halo frames':>13}{'GMAC':>8}{'share':>8}{'over no halo':>14}",
    ]
    for cost in costs:
        kilohertz = voice.sample_rate * cost.span.rate / voice.hop_size / 1000.0
        lines.append(
            f"{cost.name:<18}{kilohertz:>9g}{cost.span.halo_frames:>13.1f}{cost.macs / 1e9:>8.2f}"
            f"{cost.macs / total:>8.1%}{cost.macs / cost.bare_macs - 1.0:>+14.1%}"
        )
    lines.append(f"{'all':<18}{'':>9}{'':>13}{total / 1e9:>8.2f}{1:>8.1%}{total / bare - 1.0:>+14.1%}")
    return "\n".join(lines)


def _cost(name: str, span: Span, layers: list[tuple[Span, int]], window: int) -> StageCost:
    """Sum up (span that a layer yields, multiply-adds a sample)."""
    macs = sum(s.length * each for s, each in layers)
    return StageCost(name, span, macs, sum(window * s.rate * each for s, each in layers))


def _down_layers(voice: Voice, spans: tuple[Span, ...]) -> list[tuple[Span, int]]:
    config = voice.generator
    scales = len(config.upsample_scales)
    layers = []
    for index, span in enumerate(spans[1:], start=1):
        stage = scales - index
        layers.append(
            (span, (config.channels >> stage) * (config.channels >> (stage + 1)) * 2 * config.upsample_scales[stage])
        )
    return layers


def _up_layer(voice: Voice, stage: int, span: Span) -> tuple[Span, int]:
    """Two taps reach every output sample of a transposed convolution of width 2 * scale."""
    channels = voice.generator.channels
    return span, 2 * (channels >> stage) * (channels >> (stage + 1))


def _input_costs(voice: Voice, plan: CropPlan) -> list[StageCost]:
    config = voice.generator
    last = config.channels >> len(config.upsample_scales)
    hidden = [(plan.hidden, config.in_channels * config.channels * config.kernel_size)]
    excitation = [(plan.excitation[0], last * config.kernel_size), *_down_layers(voice, plan.excitation)]
    return [
        _cost("input", plan.hidden, hidden, plan.window),
        _cost("excitation down", plan.excitation[0], excitation, plan.window),
    ]


def _source_costs(voice: Voice, plan: CropPlan) -> list[StageCost]:
    config, costs = voice.generator, []
    for stage, spans in enumerate(plan.source):
        square = (config.channels >> (stage + 1)) ** 2
        layers = [_up_layer(voice, stage, spans.units[0])]
        for index, taps in enumerate(spans.taps):
            layers.append((taps, 3 * square))
            if config.source_additional_convs:
                layers.append((spans.units[index + 1] if index + 1 < len(spans.units) else spans.output, 3 * square))
        costs.append(_cost(f"source {stage + 1}", spans.output, layers, plan.window))
    costs.append(_cost("source down", plan.embeddings[0], _down_layers(voice, plan.embeddings), plan.window))
    return costs


def _filter_costs(voice: Voice, plan: CropPlan) -> list[StageCost]:
    config, costs = voice.generator, []
    for stage, spans in enumerate(plan.filter):
        square = (config.channels >> (stage + 1)) ** 2
        layers = [_up_layer(voice, stage, spans.input)]
        for size, dilations in zip(config.filter_kernel_sizes, config.filter_dilations, strict=True):
            span = spans.input
            for dilation in dilations:
                for step in (dilation, 1)[: 1 + int(config.filter_additional_convs)]:
                    span = span.widen(-(size - 1) // 2 * step)
                    layers.append((span, size * square))
        costs.append(_cost(f"filter {stage + 1}", spans.output, layers, plan.window))
    waveform = Span(config.hop_size, 0, plan.window * config.hop_size)
    last = config.channels >> len(config.upsample_scales)
    costs.append(_cost("output", waveform, [(waveform, last * config.kernel_size)], plan.window))
    return costs

"""How much of a window each stage of the narrowing engine has to see: the crop plan.

The engine yields the samples of `window` frames exactly as the full-length model would. Going backwards from that
output through the network, each layer widens the span it needs by its own reach; `crop_plan` does that walk. All spans
are integers, fixed when the engine is built, and follow from two numbers: `window` and `f0_floor`, because the reach
of a pitch-dependent convolution is `sample_rate / (dense_factor * f0) * dilation` samples a side.
"""

from __future__ import annotations

from dataclasses import dataclass

from preprocess.f0 import LOWEST_FLOOR_HZ, largest_offsets
from preprocess.voice import Voice
from sifigan_triton.network.generator import up_padding


@dataclass(frozen=True)
class Span:
    """Samples [start, stop) at `rate` samples a frame, counted from the first sample that the window yields."""

    rate: int
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Samples in the span."""
        return self.stop - self.start

    @property
    def halo_frames(self) -> float:
        """Frames that the span reaches beyond the window at its start."""
        return -self.start / self.rate

    def widen(self, reach: int) -> Span:
        """Return the input span of a centred convolution that reaches `reach` samples to each side."""
        return Span(self.rate, self.start - reach, self.stop + reach)

    def union(self, other: Span) -> Span:
        """Return the smallest span that holds both."""
        assert self.rate == other.rate
        return Span(self.rate, min(self.start, other.start), max(self.stop, other.stop))

    def before_up(self, scale: int) -> Span:
        """Return the input span of the transposed convolution (width 2 * scale, stride scale) that yields this span.

        Output n is made of the inputs j - 1 and j with j = floor((n + padding) / scale).
        """
        pad = up_padding(scale)
        return Span(self.rate // scale, (self.start + pad) // scale - 1, (self.stop - 1 + pad) // scale + 1)

    def before_down(self, scale: int) -> Span:
        """Return the input span of the strided convolution (width 2 * scale, stride scale) that yields this span.

        Output j is made of the inputs j * scale - (scale - 1) to j * scale + scale.
        """
        return Span(self.rate * scale, self.start * scale - scale + 1, (self.stop - 1) * scale + scale + 1)


@dataclass(frozen=True)
class SourceSpans:
    """Spans of one stage of the source network."""

    units: tuple[Span, ...]
    """Input of each residual unit; the first one is also what the up-sampling layer yields."""
    taps: tuple[Span, ...]
    """What each pitch-dependent convolution yields."""
    output: Span


@dataclass(frozen=True)
class FilterSpans:
    """Spans of one stage of the filter network."""

    input: Span
    output: Span


@dataclass(frozen=True)
class CropPlan:
    """Every span of the narrowing engine."""

    window: int
    """Frames that a window yields."""
    halo: int
    """Frames that the engine sees beyond the window, at each side."""
    f0_floor: float
    """Lowest F0 in Hz for which the window is exact."""
    hidden: Span
    """What the input convolution yields."""
    excitation: tuple[Span, ...]
    """Embeddings of the excitation, from the highest rate to the lowest one."""
    source: tuple[SourceSpans, ...]
    embeddings: tuple[Span, ...]
    """Embeddings of the source signal, from the highest rate to the lowest one."""
    filter: tuple[FilterSpans, ...]

    @property
    def input_frames(self) -> int:
        """Frames that the engine sees: window + 2 * halo."""
        return self.window + 2 * self.halo


def crop_plan(voice: Voice, window: int, f0_floor: float) -> CropPlan:
    """Derive the spans of every stage from the window and the lowest F0.

    Args:
        voice: the voice's constants.
        window: frames that a window yields.
        f0_floor: lowest F0 in Hz that the engine promises to treat exactly.

    Raises:
        ValueError: if `window` is not positive, or `f0_floor` lies outside 1 Hz to half the sample rate.

    """
    if window < 1:
        raise ValueError(f"window of {window} frames, expected at least 1")
    if not LOWEST_FLOOR_HZ <= f0_floor < voice.sample_rate / 2:
        raise ValueError(
            f"f0_floor of {f0_floor:g} Hz, expected at least {LOWEST_FLOOR_HZ:g} Hz and less than half the sample "
            f"rate, {voice.sample_rate / 2:g} Hz"
        )
    config = voice.generator
    edge = (config.kernel_size - 1) // 2
    waveform = Span(config.hop_size, 0, window * config.hop_size)
    filters = _filter_spans(voice, waveform.widen(edge))
    embeddings = _embedding_spans(voice, [stage.input for stage in filters])
    source = _source_spans(voice, embeddings[0], f0_floor)
    excitation = _embedding_spans(voice, [stage.units[0] for stage in source])
    first_scale = config.upsample_scales[0]
    hidden = source[0].units[0].before_up(first_scale).union(filters[0].input.before_up(first_scale))
    inputs = [hidden.widen(edge), excitation[0].widen(edge)]
    halo = max(max(-(span.start // span.rate), -(-span.stop // span.rate) - window) for span in inputs)
    return CropPlan(window, halo, f0_floor, hidden, tuple(excitation), tuple(source), tuple(embeddings), tuple(filters))


def _filter_spans(voice: Voice, needed: Span) -> list[FilterSpans]:
    """Walk the filter network backwards; `needed` is the span in front of the output convolution."""
    config = voice.generator
    reach = max(
        sum((size - 1) // 2 * (d + int(config.filter_additional_convs)) for d in dilations)
        for size, dilations in zip(config.filter_kernel_sizes, config.filter_dilations, strict=True)
    )
    spans: list[FilterSpans] = []
    for scale in reversed(config.upsample_scales):
        spans.insert(0, FilterSpans(input=needed.widen(reach), output=needed))
        needed = spans[0].input.before_up(scale)
    return spans


def _source_spans(voice: Voice, needed: Span, f0_floor: float) -> list[SourceSpans]:
    """Walk the source network backwards; `needed` is the span of the source signal at the highest rate."""
    config = voice.generator
    reach = dict(zip(config.pitch_dependent_convs, largest_offsets(voice, f0_floor), strict=True))
    spans: list[SourceSpans] = []
    for stage in reversed(range(len(config.upsample_scales))):
        output = needed
        units: list[Span] = []
        taps: list[Span] = []
        for dilation in reversed(config.source_dilations[stage]):
            taps.insert(0, needed.widen(int(config.source_additional_convs)))
            needed = taps[0].widen(reach[stage, dilation])
            units.insert(0, needed)
        spans.insert(0, SourceSpans(tuple(units), tuple(taps), output))
        needed = needed.before_up(config.upsample_scales[stage])
    return spans


def _embedding_spans(voice: Voice, consumers: list[Span]) -> list[Span]:
    """Return the spans of a down-sampling chain, highest rate first; `consumers` are the stages, lowest rate first."""
    spans = [consumers[0]]
    for consumer, scale in zip(consumers[1:], voice.generator.upsample_scales[1:], strict=True):
        spans.insert(0, consumer.union(spans[0].before_down(scale)))
    return spans

"""Which frames some frames of audio depend on: the network backwards, in integers, by the tap offsets that are there.

`sifigan_triton/network/crop_plan.py` walks the same way for the lowest F0 that an engine promises; this walk follows
the F0 that is really there, and the ends of the utterance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .voice import Voice

Span = tuple[int, int]
"""Samples [begin, end) at some rate, counted from the utterance's first sample."""


@dataclass(frozen=True)
class Reach:
    """What is known of an utterance: the tap offsets of some of its frames, and perhaps where it ends."""

    offsets: npt.NDArray[np.int32]
    """(P, n), of the frames from `start` on. What is asked of other frames is answered with the nearest of these."""
    start: int
    frames: int | None
    """Frames of the utterance; None: it ends behind all that is asked for."""
    voice: Voice

    def frames_needed(self, first: int, end: int) -> Span:
        """Return the frames, of `features`, `excitation` and F0, that decide the audio of the frames [first, end).

        Never fewer than that, and at most a frame or so more. A larger range never needs less.
        """
        config = self.voice.generator
        scales, edge = config.upsample_scales, (config.kernel_size - 1) // 2
        needed = self._wider((first * config.hop_size, end * config.hop_size), edge, config.hop_size)
        inputs: list[Span] = []  # of each stage of the filter network
        for scale, rate in reversed(list(zip(scales, config.rates, strict=True))):
            inputs.insert(0, self._wider(needed, _filter_reach(self.voice), rate))
            needed = self._before_up(inputs[0], scale, rate)
        hidden = needed
        needed = self._embedded(inputs)
        inputs = []  # of each stage of the source network
        row = len(config.pitch_dependent_convs)
        for stage in reversed(range(len(scales))):
            rate = config.rates[stage]
            for _ in config.source_dilations[stage]:
                row -= 1
                needed = self._wider(needed, int(config.source_additional_convs), rate)
                needed = self._tapped(needed, row, rate)
            inputs.insert(0, needed)
            needed = self._before_up(needed, scales[stage], rate)
        excitation = self._wider(self._embedded(inputs), edge, config.hop_size)
        features = self._wider(_union(hidden, needed), edge, 1)
        return _union(features, (excitation[0] // config.hop_size, -(-excitation[1] // config.hop_size)))

    def _within(self, begin: int, end: int, rate: int) -> Span:
        """Leave out what lies beyond the utterance: it is zero, whatever the utterance holds."""
        return max(begin, 0), end if self.frames is None else min(end, self.frames * rate)

    def _wider(self, span: Span, reach: int, rate: int) -> Span:
        """Return the input of a centred convolution that reaches `reach` samples to each side."""
        return self._within(span[0] - reach, span[1] + reach, rate)

    def _before_up(self, span: Span, scale: int, rate: int) -> Span:
        """Return the input of the transposed convolution (width 2 * scale, stride scale) that yields this span."""
        pad = scale // 2 + scale % 2
        return self._within((span[0] + pad) // scale - 1, (span[1] - 1 + pad) // scale + 1, rate // scale)

    def _embedded(self, inputs: Sequence[Span]) -> Span:
        """Return what a chain of strided convolutions takes whose outputs, the lowest rate first, are these."""
        config, needed = self.voice.generator, inputs[0]
        for span, scale, rate in zip(inputs[1:], config.upsample_scales[1:], config.rates[1:], strict=True):
            below = self._within(needed[0] * scale - scale + 1, (needed[1] - 1) * scale + scale + 1, rate)
            needed = _union(span, below)
        return needed

    def _tapped(self, span: Span, row: int, rate: int) -> Span:
        """Return what a pitch-dependent convolution reads for this span: its samples, and their taps at both sides.

        What `reflect` reads in place of a tap beyond an end lies between that end and the tap at the other side.
        """
        frames = np.arange(span[0] // rate, (span[1] - 1) // rate + 1)
        offset = self.offsets[row, np.clip(frames - self.start, 0, self.offsets.shape[1] - 1)].astype(np.int64)
        begin, last = np.maximum(frames * rate, span[0]), np.minimum(frames * rate + rate, span[1]) - 1
        return _union(span, self._within(int((begin - offset).min()), int((last + offset).max()) + 1, rate))


def _union(one: Span, other: Span) -> Span:
    """Return the smallest span that holds both."""
    return min(one[0], other[0]), max(one[1], other[1])


def _filter_reach(voice: Voice) -> int:
    """Return how many samples a stage of the filter network reaches to each side."""
    config = voice.generator
    return max(
        sum((size - 1) // 2 * (dilation + int(config.filter_additional_convs)) for dilation in dilations)
        for size, dilations in zip(config.filter_kernel_sizes, config.filter_dilations, strict=True)
    )

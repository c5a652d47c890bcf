"""Where the utterance begins and ends within a window, at every rate of the narrowing engine."""

from __future__ import annotations

import torch
from torch import Tensor

from sifigan_triton.network.crop_plan import CropPlan, Span
from sifigan_triton.network.indexing import inside


class Edges:
    """Where the utterance begins and ends, at every rate; positions count from the window's first output frame.

    One array of positions a rate covers all that the engine sees, and one mask a rate and type; every span is a slice
    of them. With arrays for each span, an exported window of 512 frames would hold 15 MB of positions.
    """

    def __init__(self, bounds: Tensor, plan: CropPlan, time_axis: int) -> None:
        """Read the bounds, int32 (B, 2); `time_axis` is that of the activations to be masked, 1 or 2."""
        self._begin = (bounds[:, 0:1] - plan.halo).unsqueeze(1)  # (B, 1, 1), frames
        self._end = (bounds[:, 1:2] - plan.halo).unsqueeze(1)
        self._plan, self._axis = plan, time_axis
        self._positions: dict[int, Tensor] = {}
        self._masks: dict[tuple[int, torch.dtype], Tensor] = {}

    def first(self, rate: int) -> Tensor:
        """Position of the utterance's first sample, int32 (B, 1, 1)."""
        return self._begin * rate

    def length(self, rate: int) -> Tensor:
        """Samples of the utterance, int32 (B, 1, 1)."""
        return (self._end - self._begin) * rate

    def positions(self, span: Span) -> Tensor:
        """Positions of the samples of a span, counted from the utterance's first sample: int32 (B, 1, L)."""
        return crop(self._all_positions(span.rate), self._seen(span.rate), span)

    def mask(self, x: Tensor, span: Span) -> Tensor:
        """Zero what lies outside the utterance, as the zero padding of the full-length model does."""
        key = (span.rate, x.dtype)
        if key not in self._masks:
            mask = inside(self._all_positions(span.rate), self.length(span.rate)).to(x.dtype)
            self._masks[key] = mask if self._axis == 2 else mask.transpose(1, 2)
        return x * crop(self._masks[key], self._seen(span.rate), span, self._axis)

    def _all_positions(self, rate: int) -> Tensor:
        if rate not in self._positions:
            seen = self._seen(rate)
            samples = torch.arange(seen.start, seen.stop, dtype=torch.int32, device=self._begin.device)
            self._positions[rate] = samples.view(1, 1, -1) - self.first(rate)
        return self._positions[rate]

    def _seen(self, rate: int) -> Span:
        """All that the engine sees, at a rate."""
        return Span(rate, -self._plan.halo * rate, (self._plan.window + self._plan.halo) * rate)


def crop(x: Tensor, have: Span, want: Span, axis: int = 2) -> Tensor:
    """Cut the span `want` out of `x`, which covers the span `have` along an axis."""
    assert have.rate == want.rate
    assert have.start <= want.start
    assert want.stop <= have.stop
    begin, end = want.start - have.start, want.stop - have.start
    if have == want:
        return x
    if axis == 2:
        return x[:, :, begin:end]
    # OpenVINO splits along the outermost axis without a copy, but not slices.
    parts = [begin, end - begin, have.length - end]
    views: tuple[Tensor, ...] = torch.split(x, [part for part in parts if part], dim=1)
    return views[int(begin > 0)]

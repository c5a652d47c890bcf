"""Sample indices of the pitch-dependent dilated convolutions, in integer arithmetic."""

from __future__ import annotations

from torch import Tensor

from preprocess.voice import PdIndexing


def tap_indices(positions: Tensor, offsets: Tensor, length: Tensor, mode: PdIndexing) -> tuple[Tensor, Tensor]:
    """Return where the past and the future tap of each sample lie.

    With `reflect` (public code since March 2023) the past tap reads `|t - o| mod L`, the future tap `t + o`, and from
    L on `L - ((t + o) mod L)`. One deliberate difference: where `t + o` is a multiple of L the public code reads the
    first sample of the utterance (its index is -0), this function the last one. With `zero` (public code of 2022) the
    taps read `t - o` and `t + o`; what lies outside the utterance reads as zero, see `inside`.

    Args:
        positions: integer (..., L'), sample t counted from the utterance's first sample, at the scale's rate.
        offsets: integer, broadcastable to `positions`, distance o of the taps in samples at the scale's rate.
        length: integer, broadcastable to `positions`, samples L of the utterance at the scale's rate.
        mode: the voice's `pd_indexing`.

    Returns:
        Two integer tensors like `positions`: past and future index, counted from the utterance's first sample.

    """
    past = positions - offsets
    future = positions + offsets
    if mode == "zero":
        return past, future
    mirrored = (length - future % length).clamp(max=length - 1)
    return past.abs() % length, future.where(future < length, mirrored)


def inside(index: Tensor, length: Tensor) -> Tensor:
    """Return which indices lie within the utterance, as a Boolean tensor like `index`."""
    return (index >= 0) & (index < length)

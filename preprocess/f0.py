"""Continuous F0 and the tap offsets of the pitch-dependent convolutions."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .voice import Voice

_F0 = TypeVar("_F0", npt.NDArray[np.float32], npt.NDArray[np.float64])

Anchors = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

LOWEST_FLOOR_HZ = 1.0
"""Lowest F0 that an engine can be built for."""


def lowest_f0(f0_floor: float) -> float:
    """Return the lowest F0 in Hz that a floor of `f0_floor` admits: one FP32 rounding below it."""
    return f0_floor * (1.0 - 2.0**-23)


def raise_to_floor(f0: _F0, f0_floor: float) -> _F0:
    """Return `f0`, float (T,) in Hz, with voiced frames below the floor raised to it; unvoiced ones stay 0."""
    raised: _F0 = np.where(f0 > 0.0, np.maximum(f0, f0.dtype.type(f0_floor)), f0.dtype.type(0.0))
    return raised


def continuous_f0(
    f0: npt.NDArray[np.float32] | npt.NDArray[np.float64], anchors: Anchors | None = None
) -> npt.NDArray[np.float64]:
    """Fill unvoiced frames by linear interpolation in Hz, the first and last voiced value held towards the ends.

    Args:
        f0: float (T,) in Hz, 0 where unvoiced.
        anchors: places, counted from the first of these frames, and F0 in Hz of voiced frames before and behind them:
            bitwise the same values come out as if all frames up to these were there.

    Returns:
        float64 (T,) in Hz; all zero if no frame is voiced.

    """
    voiced = np.flatnonzero(f0)
    places, values = voiced.astype(np.float64), f0[voiced].astype(np.float64)
    if anchors is not None:
        at = np.searchsorted(anchors[0], 0.0)  # how many lie before
        places = np.concatenate([anchors[0][:at], places, anchors[0][at:]])
        values = np.concatenate([anchors[1][:at], values, anchors[1][at:]])
    if places.size == 0:
        return np.zeros(f0.shape, np.float64)
    return np.interp(np.arange(f0.size), places, values)


def dilation_factors(cf0: npt.NDArray[np.float64], voice: Voice) -> npt.NDArray[np.float32]:
    """Return the dilation factors of each frame: `sample_rate / dense_factor / f0` in FP64, stored as FP32.

    A frame of F0 0 (an utterance without any voiced frame) has a dilation factor of 1.

    Args:
        cf0: float64 (T,), continuous F0 in Hz.
        voice: the voice's constants.

    Returns:
        float32 (S, T): a row for each of the `dense_factors`, in samples at its scale's rate.

    """
    factors = np.ones((len(voice.dense_factors), cf0.size), np.float32)
    dense = np.array(voice.dense_factors, np.float64)[:, None]
    np.divide(voice.sample_rate / dense, cf0, out=factors, where=cf0 > 0.0, casting="same_kind")
    return factors


def offsets_of_factors(factors: npt.NDArray[np.float32], voice: Voice) -> npt.NDArray[np.int32]:
    """Return how far the taps of each pitch-dependent convolution lie from their sample.

    The arithmetic is that of the public training code, and it is done nowhere else: dilation factor times the dilation
    in FP32; then truncated and at least 1 (`reflect`) or rounded (`zero`).

    Args:
        factors: float32 (S, T), from `dilation_factors`.
        voice: the voice's constants.

    Returns:
        int32 (P, T): a row for each pitch-dependent convolution, in samples at its scale's rate.

    """
    dilations = np.array([d for _, d in voice.generator.pitch_dependent_convs], np.float32)
    scales = [stage for stage, _ in voice.generator.pitch_dependent_convs]
    offsets = factors[scales] * dilations[:, None]
    if voice.pd_indexing == "zero":
        return np.rint(offsets).astype(np.int32)
    return np.maximum(offsets.astype(np.int32), 1)


def tap_offsets(cf0: npt.NDArray[np.float64], voice: Voice) -> npt.NDArray[np.int32]:
    """Return the tap offsets, int32 (P, T), of a continuous F0, float64 (T,), in Hz."""
    return offsets_of_factors(dilation_factors(cf0, voice), voice)


def largest_offsets(voice: Voice, f0_floor: float) -> tuple[int, ...]:
    """Return the tap offsets at the lowest F0: the reach of each pitch-dependent convolution, in samples."""
    return tuple(int(row[0]) for row in tap_offsets(np.array([lowest_f0(f0_floor)]), voice))

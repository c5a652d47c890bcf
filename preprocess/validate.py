"""Checks of a request's tensors: each failure names the tensor, what was expected, what was got, where, and the fix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .f0 import LOWEST_FLOOR_HZ, lowest_f0
from .settings import Settings

LARGEST_DEVIATION = 50.0
"""How far a feature may lie from the voice's mean, in the voice's standard deviations. Recordings reach 11, badly
clipped ones 14, a square wave 16, and ordinary ones 16 by the statistics of two seconds of singing: three times that
(`docs/reference/call.md`)."""


Reason = Literal["value", "shape", "length", "not_finite", "f0_floor", "range"]
"""Why a request is refused, for an operator who counts: a value that is not allowed; a tensor that is missing, or of
another shape or type; no frames, or too many; NaN or Inf; an F0 below the engine's floor; what no voice has."""


class RequestError(ValueError):
    """A request holds something that cannot be synthesised; the message names tensor, expected, got and the fix."""

    def __init__(self, message: str, reason: Reason = "value") -> None:
        """Say what is wrong, and what it is counted as."""
        super().__init__(message)
        self.reason = reason


def check_tensors(
    f0: npt.NDArray[np.float32] | None,
    mcep: npt.NDArray[np.float32] | None,
    bap: npt.NDArray[np.float32] | None,
    settings: Settings,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the three features, all of which a request must have, of shapes and types that fit; no value is read.

    Args:
        f0: float32 (T,) in Hz, 0 where unvoiced.
        mcep: float32 (T, 40), mel-cepstrum.
        bap: float32 (T, 3), band aperiodicity in dB.
        settings: constants of the voice and the engine.

    Raises:
        RequestError: naming the tensor, what was expected and what was got.

    """
    missing = [name for name, values in (("f0", f0), ("mcep", mcep), ("bap", bap)) if values is None]
    if f0 is None or mcep is None or bap is None:
        raise RequestError(
            f"{' and '.join(missing)} missing, expected f0, mcep and bap: send all three for each request", "shape"
        )
    _check_array("f0", f0, ())
    frames = f0.shape[0]
    check_length("f0", frames, settings)
    _check_array("mcep", mcep, (len(settings.voice.mcep.mean),))
    _check_array("bap", bap, (len(settings.voice.bap.mean),))
    for name, values in (("mcep", mcep), ("bap", bap)):
        if values.shape[0] != frames:
            raise RequestError(
                f"{name} has {values.shape[0]} frames, expected {frames} as in f0: cut or extend the features to one "
                f"length",
                "shape",
            )
    return f0, mcep, bap


def check_length(name: str, frames: int, settings: Settings) -> None:
    """Check that the engine can take an utterance of the length of the tensor `name`.

    Raises:
        RequestError: if there are no frames, or too many.

    """
    if frames == 0:
        raise RequestError(
            f"{name} has 0 frames, expected at least 1: send one value for each frame "
            f"of {settings.voice.frame_period_ms:g} ms",
            "length",
        )
    if frames > settings.longest_frames:
        raise RequestError(
            f"{name} has {frames} frames ({settings.seconds(frames):.1f} s), expected at most "
            f"{settings.longest_frames} ({settings.seconds(settings.longest_frames):.1f} s: {settings.max_batch_size} "
            f"windows of {settings.window} frames): split the utterance at a pause or build with a larger --max-batch",
            "length",
        )


def check_f0(f0: npt.NDArray[np.float64], f0_factor: float, settings: Settings, start: int = 0) -> None:
    """Check that every voiced frame, `f0_factor` applied, lies in the range that the engine promises.

    Args:
        f0: float64 (T,) in Hz, 0 where unvoiced, before `f0_factor`.
        f0_factor: the request's factor.
        settings: constants of the voice and the engine.
        start: number of the first of these frames, for the message.

    Raises:
        RequestError: naming the frame whose F0 is negative, below the engine's floor or above half the sample rate.

    """
    negative = np.flatnonzero(f0 < 0.0)
    if negative.size:
        frame = int(negative[0])
        raise RequestError(
            f"f0 is {f0[frame]:g} Hz at frame {start + frame}, expected 0 (unvoiced) or a positive frequency"
        )
    scaled = f0 * f0_factor
    low = np.flatnonzero((scaled > 0.0) & (scaled < lowest_f0(settings.f0_floor)))
    if low.size:
        frame = int(low[np.argmin(scaled[low])])
        enough = np.ceil(1e4 * settings.f0_floor / f0[frame]) / 1e4  # rounded up: the advice has to work
        rebuild = f" or build with --f0-floor {np.floor(scaled[frame]):g}" if scaled[frame] >= LOWEST_FLOOR_HZ else ""
        raise RequestError(
            f"f0 of {scaled[frame]:.2f} Hz at frame {start + frame} (f0 {f0[frame]:.2f} Hz times f0_factor "
            f"{f0_factor:g}) lies below the engine's floor of {settings.f0_floor:g} Hz: raise f0_factor to at least "
            f"{enough:.4f}{rebuild}",
            "f0_floor",
        )
    high = np.flatnonzero(scaled >= settings.voice.sample_rate / 2)
    if high.size:
        frame = int(high[0])
        raise RequestError(
            f"f0 of {scaled[frame]:.2f} Hz at frame {start + frame} (f0 {f0[frame]:.2f} Hz times f0_factor "
            f"{f0_factor:g}), expected less than half the sample rate, {settings.voice.sample_rate / 2:g} Hz: lower f0 "
            "or f0_factor"
        )


def check_normalised(
    features: npt.NDArray[np.float32], given: Mapping[str, npt.NDArray[np.float32]], start: int = 0
) -> None:
    """Check that a voice can have these features: no network makes sound of what lies far from all it has seen.

    Args:
        features: float32 (43, T), normalised: in standard deviations from the voice's mean.
        given: what they were made of, for the message: float32 (T, 40) and (T, 3), by the tensors' names.
        start: number of the first of these frames, for the message.

    Raises:
        RequestError: naming the first value that lies too far away.

    """
    deviations = np.abs(features)
    if deviations.max() <= LARGEST_DEVIATION:
        return
    bad = np.argwhere(~(deviations.T <= LARGEST_DEVIATION))
    frame, coefficient = bad[0]
    deviation, frames = deviations[coefficient, frame], np.unique(bad[:, 0]).size
    mcep, bap = given
    width = given[mcep].shape[1]
    name, coefficient = (mcep, coefficient) if coefficient < width else (bap, coefficient - width)
    raise RequestError(
        f"{name} is {given[name][frame, coefficient]:g} at frame {start + frame}, coefficient {coefficient}: "
        f"{deviation:.3g} standard deviations from the voice's mean, expected at most {LARGEST_DEVIATION:g} ({frames} "
        f"of {features.shape[1]} frames lie further away): mend the analysis of these frames, or make the features as "
        "the voice's own were made (sifigan-triton analyze)",
        "range",
    )


def check_f0_factor(f0_factor: npt.NDArray[np.float32] | None) -> float:
    """Return the value of the optional input `f0_factor` (1 if absent).

    Raises:
        RequestError: if it is not one positive finite number in float32.

    """
    value = 1.0 if f0_factor is None else _single("f0_factor", f0_factor, np.float32)
    if not (np.isfinite(value) and value > 0.0):
        raise RequestError(
            f"f0_factor is {value:g}, expected a finite number above 0: 1 keeps the pitch, 2 is an octave up"
        )
    return value


def check_seed(seed: npt.NDArray[np.int64] | None) -> int:
    """Return the value of the optional input `seed` (0 if absent).

    Raises:
        RequestError: if it is not one integer of at least 0 in int64.

    """
    value = 0 if seed is None else int(_single("seed", seed, np.int64))
    if value < 0:
        raise RequestError(f"seed is {value}, expected an integer of at least 0")
    return value


def check_repair(repair: npt.NDArray[np.bool_] | None) -> bool:
    """Return the value of the optional input `repair` (False if absent).

    Raises:
        RequestError: if it is not one bool.

    """
    return repair is not None and bool(_single("repair", repair, np.bool_))


def _single(name: str, values: npt.NDArray[Any], dtype: npt.DTypeLike) -> float:
    if values.size != 1:
        raise RequestError(f"{name} has shape {list(values.shape)}, expected [1]", "shape")
    _check_type(name, values, dtype)
    return values.reshape(-1)[0].item()  # type: ignore[no-any-return]


def _check_array(name: str, values: npt.NDArray[np.float32], width: tuple[int, ...]) -> None:
    expected = f"[T{''.join(f', {w}' for w in width)}]"
    if values.ndim != 1 + len(width) or values.shape[1:] != width:
        raise RequestError(f"{name} has shape {list(values.shape)}, expected {expected}", "shape")
    _check_type(name, values, np.float32)


def _check_type(name: str, values: npt.NDArray[Any], dtype: npt.DTypeLike) -> None:
    if values.dtype != dtype:
        raise RequestError(f"{name} has type {values.dtype}, expected {np.dtype(dtype)}", "shape")

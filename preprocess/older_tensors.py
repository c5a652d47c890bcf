"""The older bare engines' tensors of one request to the engine's windows.

Those engines took what a client had prepared, here under their own names: `INPUT__0` the excitation, `INPUT__1` the
normalised features, `INPUT__2` the dilation factors. Row i of `INPUT__2` belongs to the i-th up-sampling stage: in its
first T * rates[i] entries it holds the dilation factor `sample_rate / dense_factors[i] / f0` of each frame, repeated
rates[i] times; behind them, up to the length of the waveform, zeros.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import numpy.typing as npt

from .f0 import LOWEST_FLOOR_HZ, lowest_f0, offsets_of_factors
from .repair import Report, finite
from .settings import Settings
from .validate import RequestError, check_length, check_normalised, check_repair
from .voice import Voice
from .windows import Windows, split

EXCITATION, FEATURES, FACTORS = "INPUT__0", "INPUT__1", "INPUT__2"
WAVEFORM = "OUTPUT__0"

LARGEST_EXCITATION = 30.0
"""Largest sample of the excitation, in sums of the sine's and the noise's amplitude; noise alone reaches 6 of its own,
sine and noise of the shipped voices 1.2."""

Array = npt.NDArray[np.float32]


def preprocess_tensors(
    excitation: Array | None,
    features: Array | None,
    factors: Array | None,
    settings: Settings,
    repair: npt.NDArray[np.bool_] | None = None,
    report: Report | None = None,
) -> Windows:
    """Turn the older tensors of one request into the engine's inputs.

    Args:
        excitation: `INPUT__0`, float32 (1, T * hop_size); None, here and for the next two, is a request that lacks it.
        features: `INPUT__1`, float32 (43, T), normalised mel-cepstrum above normalised band aperiodicity.
        factors: `INPUT__2`, float32 (4, T * hop_size), dilation factors.
        settings: constants of the voice and the engine.
        repair: bool (1,), whether to replace frames of `INPUT__1` that hold NaN or Inf; None is False.
        report: called with what was replaced.

    Raises:
        RequestError: naming the tensor, what was expected, what was got and the first bad frame.

    """
    excitation, features, factors = check_older_tensors(excitation, features, factors, settings)
    _check_excitation(excitation, settings.voice)
    features = _check_features(features, settings, check_repair(repair), report)
    by_frame = factors_by_frame(factors, features.shape[1], settings)
    _check_floor(by_frame, settings)
    return split(excitation, features, offsets_of_factors(by_frame, settings.voice), settings)


def factors_by_frame(factors: Array, frames: int, settings: Settings) -> Array:
    """Take the dilation factor of each frame out of `INPUT__2`.

    Args:
        factors: float32 (4, T * hop_size).
        frames: T.
        settings: constants of the voice and the engine.

    Returns:
        float32 (4, T).

    Raises:
        RequestError: if a row is not laid out as the older client did it, or holds what is no dilation factor.

    """
    rows = [_row(row, factors[row], frames, rate) for row, rate in enumerate(settings.voice.generator.rates)]
    return np.stack(rows)


def _row(row: int, values: Array, frames: int, rate: int) -> Array:
    """Take one row of `INPUT__2` apart: float32 (T * hop_size,) -> (T,)."""
    held, behind = values[: frames * rate].reshape(frames, rate), values[frames * rate :]
    first: Array = held[:, 0]
    # NaN equals nothing, so that a row which holds one within its frames is not taken for a good one.
    repeated = bool((held == first[:, None]).all())
    if not (repeated and (first > 0.0).all() and np.isfinite(first).all() and not np.count_nonzero(behind)):
        _refuse_row(row, held, behind)
    return first


def _refuse_row(row: int, held: Array, behind: Array) -> NoReturn:
    """Say what is wrong with one row of `INPUT__2`: (T, rate) of factors, and what follows them."""
    frames, rate = held.shape
    layout = f"send the dilation factor of each frame {rate} times in row {row}, and zeros behind"
    bad = np.argwhere(~(np.isfinite(held) & (held > 0.0)))
    if bad.size:
        raise RequestError(
            f"{FACTORS} row {row} is {held[tuple(bad[0])]:g} at sample {bad[0][0] * rate + bad[0][1]} (frame "
            f"{bad[0][0]}), expected a dilation factor: a finite number above 0, {frames} frames of {rate} samples: "
            f"{layout}"
        )
    different = np.argwhere(held != held[:, :1])
    if different.size:
        frame, sample = different[0]
        raise RequestError(
            f"{FACTORS} row {row} changes from {held[frame, 0]:g} to {held[frame, sample]:g} within frame {frame} "
            f"(sample {frame * rate + sample}), expected one dilation factor a frame: {layout}"
        )
    used = int(np.flatnonzero(behind)[0])  # NaN included
    raise RequestError(
        f"{FACTORS} row {row} is {behind[used]:g} at sample {frames * rate + used}, expected zeros behind "
        f"{frames} frames of {rate} samples: {layout}"
    )


def _check_features(features: Array, settings: Settings, mend: bool, report: Report | None) -> Array:
    """Refuse or replace frames that hold NaN or Inf, refuse features that no voice has.

    The mel-cepstrum apart from the band aperiodicity: an utterance is repaired alike through `sifigan` and here.
    """
    order = len(settings.voice.mcep.mean)
    parts = {f"{FEATURES} (mcep)": features[:order].T, f"{FEATURES} (bap)": features[order:].T}
    parts = finite(parts, mend, report)
    features = np.concatenate([values.T for values in parts.values()])
    check_normalised(features, parts)
    return features


def _check_excitation(excitation: Array, voice: Voice) -> None:
    """Check that the excitation, float32 (1, T * hop_size), is finite and no louder than any sine with noise."""
    hop, largest = voice.hop_size, LARGEST_EXCITATION * (voice.sine_amp + voice.noise_amp)
    if np.abs(excitation).max() <= largest:
        return
    bad = np.flatnonzero(~np.isfinite(excitation[0]))
    if bad.size:
        raise RequestError(
            f"{EXCITATION} is {excitation[0, bad[0]]} at sample {bad[0]} (frame {bad[0] // hop}), expected finite "
            f"samples ({bad.size} of {excitation.size} are NaN or Inf): make the excitation from finite f0; the input "
            f"repair mends {FEATURES} only",
            "not_finite",
        )
    sample = int(np.flatnonzero(np.abs(excitation[0]) > largest)[0])
    raise RequestError(
        f"{EXCITATION} is {excitation[0, sample]:g} at sample {sample} (frame {sample // hop}), expected at most "
        f"{largest:g}: make it with the voice's amplitudes, a sine of {voice.sine_amp:g} and noise of "
        f"{voice.noise_amp:g}",
        "range",
    )


def _check_floor(factors: Array, settings: Settings) -> None:
    """Check that the F0 behind every dilation factor, float32 (4, T), is one that the engine promises."""
    dense = np.array(settings.voice.dense_factors, np.float64)[:, None]
    f0 = settings.voice.sample_rate / dense / factors  # Hz, FP64
    if f0.min() >= lowest_f0(settings.f0_floor):
        return
    row, frame = np.unravel_index(int(f0.argmin()), f0.shape)
    lowest = float(f0[row, frame])
    largest = (
        np.floor(1e2 * settings.voice.sample_rate / dense[row, 0] / settings.f0_floor) / 1e2
    )  # the advice has to work
    floor = np.floor(lowest / lowest_f0(1.0))  # the factor of a whole number of Hz is rounded to FP32
    rebuild = f" or build with --f0-floor {floor:g}" if floor >= LOWEST_FLOOR_HZ else ""
    raise RequestError(
        f"{FACTORS} row {row} is {factors[row, frame]:.2f} at frame {frame}, an f0 of {lowest:.2f} Hz, below the "
        f"engine's floor of {settings.f0_floor:g} Hz: raise f0, so that row {row} is at most {largest:.2f}{rebuild}",
        "f0_floor",
    )


def check_older_tensors(
    excitation: Array | None, features: Array | None, factors: Array | None, settings: Settings
) -> tuple[Array, Array, Array]:
    """Return the three tensors, all of which a request must have, of shapes and types that fit; no value is read.

    Raises:
        RequestError: naming the tensor, what was expected and what was got.

    """
    names = (EXCITATION, FEATURES, FACTORS)
    missing = [name for name, values in zip(names, (excitation, features, factors), strict=True) if values is None]
    if excitation is None or features is None or factors is None:
        raise RequestError(
            f"{' and '.join(missing)} missing, expected {', '.join(names[:2])} and {names[2]}: send all three for each "
            "request",
            "shape",
        )
    _check_shapes(excitation, features, factors, settings)
    return excitation, features, factors


def _check_shapes(excitation: Array, features: Array, factors: Array, settings: Settings) -> None:
    """Check shapes and types."""
    hop = settings.voice.hop_size
    named = (
        (EXCITATION, excitation, 1, "T * hop"),
        (FEATURES, features, settings.voice.generator.in_channels, "T"),
        (FACTORS, factors, len(settings.voice.dense_factors), "T * hop"),
    )
    for name, values, rows, length in named:
        if values.ndim != 2 or values.shape[0] != rows:
            raise RequestError(f"{name} has shape {list(values.shape)}, expected [{rows}, {length}]", "shape")
        if values.dtype != np.float32:
            raise RequestError(f"{name} has type {values.dtype}, expected float32", "shape")
    frames = features.shape[1]
    check_length(FEATURES, frames, settings)
    for name, values in ((EXCITATION, excitation), (FACTORS, factors)):
        if values.shape[1] != frames * hop:
            raise RequestError(
                f"{name} has {values.shape[1]} samples, expected {frames * hop}: {hop} for each of the {frames} frames "
                f"of {FEATURES}",
                "shape",
            )

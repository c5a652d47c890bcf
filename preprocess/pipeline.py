"""One request's features to the engine's windows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .excitation import CYCLE, frame_phases, make_excitation
from .f0 import continuous_f0, tap_offsets
from .ranges import Range, check_range
from .reach import Reach
from .repair import Report, finite
from .settings import Settings
from .validate import (
    check_f0,
    check_f0_factor,
    check_normalised,
    check_repair,
    check_seed,
    check_tensors,
)
from .voice import Voice
from .windows import Windows, split, wanted_frames

Features = npt.NDArray[np.float32] | None


@dataclass(frozen=True)
class Prepared:
    """What becomes of one request."""

    windows: Windows
    first_sample: int
    """Where the answer begins in what the engine makes of the windows."""
    samples: int
    """Of the answer."""
    wanted: npt.NDArray[np.int64]
    """(n, 1): how many of the first frames of each window are wanted."""
    next_phase: float = 0.0
    """The sine's phase behind the answer, in cycles."""

    @classmethod
    def of(cls, windows: Windows, span: Range, settings: Settings, next_phase: float = 0.0) -> Prepared:
        """Describe the windows of a range."""
        hop = settings.voice.hop_size
        skipped = (span.first - span.start) * hop if settings.dynamic else 0
        return cls(windows, skipped, span.wanted * hop, wanted_frames(span, settings), next_phase)


def preprocess(f0: Features, mcep: Features, bap: Features, settings: Settings, **optional: Any) -> Windows:
    """Turn the tensors of one request into the engine's inputs; `optional` are the further arguments of `prepare`."""
    return prepare(f0, mcep, bap, settings, **optional).windows


def prepare(
    f0: Features,
    mcep: Features,
    bap: Features,
    settings: Settings,
    f0_factor: npt.NDArray[np.float32] | None = None,
    seed: npt.NDArray[np.int64] | None = None,
    repair: npt.NDArray[np.bool_] | None = None,
    span: npt.NDArray[np.int64] | None = None,
    phase: npt.NDArray[np.float64] | None = None,
    voiced_around: npt.NDArray[np.float64] | None = None,
    report: Report | None = None,
) -> Prepared:
    """Turn the tensors of one request into the engine's inputs.

    Args:
        f0: float32 (T,) in Hz, 0 where unvoiced; None, here and for the next two, is a request that lacks it.
        mcep: float32 (T, 40), mel-cepstrum as SPTK gives it.
        bap: float32 (T, 3), band aperiodicity in dB as WORLD gives it.
        settings: constants of the voice and the engine.
        f0_factor: float32 (1,), factor on `f0`; None is 1.
        seed: int64 (1,), seed of the excitation's noise; None is 0.
        repair: bool (1,), whether to replace frames that hold NaN or Inf by the nearest finite ones; None is False.
        span: int64 (4,), the input `range`, as `check_range` takes it; None: the features are an utterance, all wanted.
        phase: float64 (1,), the sine's phase in cycles at the range's first frame.
        voiced_around: float64 (4,), frame and F0 of the voiced frames before and behind the sent ones.
        report: called with what was replaced.

    Raises:
        RequestError: naming the tensor, what was expected, what was got and the first bad frame.

    """
    f0, mcep, bap = check_tensors(f0, mcep, bap, settings)
    asked = check_range(span, phase, voiced_around, f0.size, settings)
    given = {"f0": f0, "mcep": mcep, "bap": bap}
    f0, mcep, bap = finite(given, check_repair(repair), report, asked.start).values()
    factor = check_f0_factor(f0_factor)
    check_f0(f0.astype(np.float64), factor, settings, asked.start)
    for frame, hz in asked.voiced or ():
        check_f0(np.array([hz]), factor, settings, int(frame))
    asked.check_gaps(f0)
    voice = settings.voice
    cf0 = continuous_f0(f0, asked.anchors()) * factor
    features, offsets = normalise(mcep, bap, voice), tap_offsets(cf0, voice)
    check_normalised(features, {"mcep": mcep, "bap": bap}, asked.start)
    phases = frame_phases(cf0, voice.sample_rate, voice.hop_size)
    begin = 0 if asked.phase is None else asked.phase - int(phases[asked.first - asked.start])
    next_phase = (begin + int(phases[asked.end - asked.start])) % CYCLE / CYCLE
    excitation = make_excitation(cf0, check_seed(seed), voice, asked.start, begin % CYCLE)
    if span is not None:
        needed = Reach(offsets, asked.start, asked.frames, voice).frames_needed(asked.first, asked.end)
        asked.check_reach(needed, settings.halo)
        if settings.dynamic:  # of what it is given it computes everything
            low, high = (frame - asked.start for frame in needed)
            excitation = excitation[low * voice.hop_size : high * voice.hop_size]
            features, offsets = features[:, low:high], offsets[:, low:high]
            asked = replace(asked, start=needed[0], stop=needed[1])
    return Prepared.of(split(excitation[None], features, offsets, settings, asked), asked, settings, next_phase)


def condition(
    f0: npt.NDArray[np.float32],
    mcep: npt.NDArray[np.float32],
    bap: npt.NDArray[np.float32],
    voice: Voice,
    f0_factor: float = 1.0,
    seed: int = 0,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Turn the checked features of an utterance into the full-length inputs of the generator.

    Returns:
        excitation float32 (1, T * hop_size), normalised features float32 (43, T), tap offsets int32 (P, T).

    """
    cf0 = continuous_f0(f0) * f0_factor
    return make_excitation(cf0, seed, voice)[None], normalise(mcep, bap, voice), tap_offsets(cf0, voice)


def normalise(mcep: npt.NDArray[np.float32], bap: npt.NDArray[np.float32], voice: Voice) -> npt.NDArray[np.float32]:
    """Return the features in standard deviations from the voice's mean, float32 (43, T)."""
    features = np.concatenate([mcep, bap], axis=1, dtype=np.float64)
    features -= voice.mcep.mean + voice.bap.mean
    features /= voice.mcep.scale + voice.bap.scale
    with np.errstate(over="ignore"):  # absurd features become infinite; `check_normalised` refuses them
        normalised: npt.NDArray[np.float32] = features.astype(np.float32).T  # (T, 43) -> (43, T)
    return normalised

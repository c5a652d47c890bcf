"""One request's features to the engine's windows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .excitation import make_excitation
from .f0 import continuous_f0, tap_offsets
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
from .windows import Windows, split


def preprocess(
    f0: npt.NDArray[np.float32] | None,
    mcep: npt.NDArray[np.float32] | None,
    bap: npt.NDArray[np.float32] | None,
    settings: Settings,
    f0_factor: npt.NDArray[np.float32] | None = None,
    seed: npt.NDArray[np.int64] | None = None,
    repair: npt.NDArray[np.bool_] | None = None,
    report: Report | None = None,
) -> Windows:
    """Turn the tensors of one request into the engine's inputs.

    Args:
        f0: float32 (T,) in Hz, 0 where unvoiced; None, here and for the next two, is a request that lacks it.
        mcep: float32 (T, 40), mel-cepstrum as SPTK gives it.
        bap: float32 (T, 3), band aperiodicity in dB as WORLD gives it.
        settings: constants of the voice and the engine.
        f0_factor: float32 (1,), factor on `f0`; None is 1.
        seed: int64 (1,), seed of the excitation's noise; None is 0.
        repair: bool (1,), whether to replace frames that hold NaN or Inf by the nearest finite ones; None is False.
        report: called with what was replaced.

    Raises:
        RequestError: naming the tensor, what was expected, what was got and the first bad frame.

    """
    f0, mcep, bap = check_tensors(f0, mcep, bap, settings)
    f0, mcep, bap = finite({"f0": f0, "mcep": mcep, "bap": bap}, check_repair(repair), report).values()
    factor = check_f0_factor(f0_factor)
    check_f0(f0.astype(np.float64), factor, settings)
    excitation, features, offsets = condition(f0, mcep, bap, settings.voice, factor, check_seed(seed))
    check_normalised(features, {"mcep": mcep, "bap": bap})
    return split(excitation, features, offsets, settings)


def condition(
    f0: npt.NDArray[np.float32],
    mcep: npt.NDArray[np.float32],
    bap: npt.NDArray[np.float32],
    voice: Voice,
    f0_factor: float = 1.0,
    seed: int = 0,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Turn checked features into the full-length inputs of the generator.

    Returns:
        excitation float32 (1, T * hop_size), normalised features float32 (43, T), tap offsets int32 (P, T).

    """
    cf0 = continuous_f0(f0) * f0_factor
    excitation = make_excitation(cf0, seed, voice)
    features = np.concatenate([mcep, bap], axis=1, dtype=np.float64)
    features -= voice.mcep.mean + voice.bap.mean
    features /= voice.mcep.scale + voice.bap.scale
    with np.errstate(over="ignore"):  # absurd features become infinite; `check_normalised` refuses them
        normalised = features.astype(np.float32).T  # (T, 43) -> (43, T)
    return excitation[None], normalised, tap_offsets(cf0, voice)

"""Mean and scale of the features, from the statistics file of the public training code."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.limits import shown
from preprocess.voice import GeneratorConfig, Statistics, VoiceError
from sifigan_triton.voice import CheckpointError
from sifigan_triton.voice.safe_pickle import load_scalers


def read_statistics(path: Path, config: GeneratorConfig) -> tuple[Statistics, Statistics]:
    """Read mean and scale of mel-cepstrum and band aperiodicity.

    Args:
        path: the `.joblib` file.
        config: the generator's hyperparameters; its `in_channels` must be the two widths' sum.

    Raises:
        CheckpointError: naming the file, the key, what was expected and what was got.

    """
    scalers = load_scalers(path)
    mcep, bap = _statistics(path, scalers, "mcep"), _statistics(path, scalers, "bap")
    width = len(mcep.mean) + len(bap.mean)
    if width != config.in_channels:
        raise CheckpointError(
            f"{path}: mcep has {len(mcep.mean)} coefficients and bap {len(bap.mean)}, {width} together, expected "
            f"in_channels = {config.in_channels} of the generator YAML: check that both belong together"
        )
    return mcep, bap


def _statistics(path: Path, scalers: dict[str, dict[str, Any]], key: str) -> Statistics:
    """Return one feature's mean and scale."""
    if key not in scalers:
        found = ", ".join(name[:40] for name in list(scalers)[:8]) or "nothing"
        raise CheckpointError(f"{path}: {key} is missing (found {found}), expected StandardScalers of mcep and bap")
    scaler = scalers[key]
    for switch in ("with_mean", "with_std"):
        if scaler.get(switch) is not True:
            raise CheckpointError(f"{path}: {key}.{switch} is {shown(scaler.get(switch))}, expected True")
    values: dict[str, tuple[float, ...]] = {}
    for attribute in ("mean_", "scale_"):
        array = scaler.get(attribute)
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind != "f":
            raise CheckpointError(
                f"{path}: {key}.{attribute} is no row of numbers, expected a StandardScaler fitted to the training data"
            )
        values[attribute] = tuple(float(v) for v in array)
        bad = next((i for i, v in enumerate(values[attribute]) if not math.isfinite(v)), None)
        if bad is not None:
            raise CheckpointError(
                f"{path}: {key}.{attribute}[{bad}] is {values[attribute][bad]}, expected a finite number"
            )
    try:
        return Statistics(mean=values["mean_"], scale=values["scale_"])
    except VoiceError as error:
        raise CheckpointError(f"{path}: {key}: {error}") from None

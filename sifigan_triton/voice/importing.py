"""Import of a voice from the files that the public SiFi-GAN training code writes."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.voice import AnalysisSettings, GeneratorConfig, PdIndexing, Statistics, Voice, VoiceError
from sifigan_triton.voice import CheckpointError
from sifigan_triton.voice.folder import CARD_FILE, VOICE_FILE, WEIGHTS_FILE, save_voice
from sifigan_triton.voice.generator_yaml import read_generator_config
from sifigan_triton.voice.safe_pickle import load_scalers
from sifigan_triton.voice.weights import read_weights

__all__ = ["CheckpointError", "import_voice"]


def import_voice(
    checkpoint: Path,
    stats: Path,
    generator_yaml: Path,
    output: Path,
    *,
    pd_indexing: PdIndexing = "reflect",
    name: str | None = None,
    license_text: str | None = None,
    overwrite: bool = False,
) -> Voice:
    """Make a voice folder from a checkpoint of the public training code; no code of its files is run.

    The folder is written after everything has been read and checked; other files in it are left alone.

    Args:
        checkpoint: `checkpoint-*.pkl` of the trainer.
        stats: the `.joblib` file of feature statistics (a dictionary of scikit-learn StandardScalers).
        generator_yaml: the generator's YAML file, `_target_: sifigan.models.SiFiGANGenerator`.
        output: the voice's folder.
        pd_indexing: `reflect` for a voice trained with the public code since March 2023, `zero` with that of 2022; the
            files do not tell.
        name: name of the voice; the folder's name if None.
        license_text: licence of the weights, for the card; the card says that it is missing if None.
        overwrite: replace a voice that is in the folder already.

    Raises:
        CheckpointError: naming the file, the key, what was expected, what was got and, where there is one, the fix.

    """
    _check_output(output, overwrite)
    config = read_generator_config(generator_yaml)
    mcep, bap = read_statistics(stats, config)
    generator, steps = read_weights(checkpoint, config, pd_indexing)
    provenance = {
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": _sha256(checkpoint),
        "steps": "not stated" if steps is None else str(steps),
        "statistics": stats.name,
        "statistics_sha256": _sha256(stats),
        "generator": generator_yaml.name,
        "generator_sha256": _sha256(generator_yaml),
    }
    try:
        voice = Voice(
            name or output.resolve().name,
            mcep,
            bap,
            config,
            AnalysisSettings(mcep_order=len(mcep.mean) - 1),
            pd_indexing=pd_indexing,
            provenance=provenance,
        )
    except VoiceError as error:
        raise CheckpointError(f"{generator_yaml} and {stats}: {error}") from None
    save_voice(output, voice, generator, _card(voice, license_text))
    return voice


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
        found = ", ".join(scalers) or "nothing"
        raise CheckpointError(f"{path}: {key} is missing (found {found}), expected StandardScalers of mcep and bap")
    scaler = scalers[key]
    for switch in ("with_mean", "with_std"):
        if scaler.get(switch) is not True:
            raise CheckpointError(f"{path}: {key}.{switch} is {scaler.get(switch)!r}, expected True")
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


def _check_output(output: Path, overwrite: bool) -> None:
    """Refuse a folder that holds a voice, unless it is to be overwritten."""
    if output.exists() and not output.is_dir():
        raise CheckpointError(f"{output}: is a file, expected the voice's folder")
    present = [name for name in (VOICE_FILE, WEIGHTS_FILE, CARD_FILE) if (output / name).exists()]
    if present and not overwrite:
        raise CheckpointError(
            f"{output}: holds {', '.join(present)} already: choose another folder or ask to overwrite"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _card(voice: Voice, license_text: str | None) -> str:
    """Return the voice's README."""
    origin = voice.provenance
    licence = license_text or (
        "Not stated. The imported files carry no licence: whoever passes this voice on has to find out under which "
        "terms the weights and the recordings behind them may be used, and write them here."
    )
    rows = "\n".join(
        f"| {what} | `{origin[key]}` | `{origin[f'{key}_sha256']}` |"
        for what, key in (("checkpoint", "checkpoint"), ("statistics", "statistics"), ("generator YAML", "generator"))
    )
    return f"""# {voice.name}

A SiFi-GAN voice, imported with `sifigan-triton import` from files of the public training code.

| what | file | SHA-256 |
| --- | --- | --- |
{rows}

Training steps: {origin["steps"]}. Ends of the pitch-dependent convolutions: `{voice.pd_indexing}`.

## Licence

{licence}
"""

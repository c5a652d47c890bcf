"""Import of a voice from the files that the public SiFi-GAN training code writes."""

from __future__ import annotations

from pathlib import Path

from preprocess.voice import AnalysisSettings, PdIndexing, Voice, VoiceError
from sifigan_triton.files import file_hash
from sifigan_triton.network.generator import Generator
from sifigan_triton.voice import CheckpointError
from sifigan_triton.voice.folder import CARD_FILE, VOICE_FILE, WEIGHTS_FILE, save_voice
from sifigan_triton.voice.generator_yaml import read_generator_config
from sifigan_triton.voice.statistics import read_statistics
from sifigan_triton.voice.weights import read_weights


def import_voice(
    checkpoint: Path,
    stats: Path,
    generator_yaml: Path,
    output: Path,
    *,
    pd_indexing: PdIndexing,
    name: str | None = None,
    license_text: str | None = None,
    overwrite: bool = False,
) -> Voice:
    """Make a voice folder from a checkpoint of the public training code; no code of its files is run.

    The folder is written after everything has been read and checked; other files in it are left alone.

    Args:
        checkpoint: as in `read_public_voice`.
        stats: as in `read_public_voice`.
        generator_yaml: as in `read_public_voice`.
        output: the voice's folder.
        pd_indexing: as in `read_public_voice`.
        name: name of the voice; the folder's name if None.
        license_text: licence of the weights, for the card; the card says that it is missing if None.
        overwrite: replace a voice that is in the folder already.

    Raises:
        CheckpointError: naming the file, the key, what was expected, what was got and, where there is one, the fix.

    """
    check_output(output, overwrite)
    name = name or output.resolve().name
    voice, generator = read_public_voice(checkpoint, stats, generator_yaml, pd_indexing=pd_indexing, name=name)
    save_voice(output, voice, generator, _card(voice, license_text))
    return voice


def read_public_voice(
    checkpoint: Path, stats: Path, generator_yaml: Path, *, pd_indexing: PdIndexing, name: str = "voice"
) -> tuple[Voice, Generator]:
    """Read a voice from the files of the public training code; no code of its files is run.

    Args:
        checkpoint: `checkpoint-*.pkl` of the trainer.
        stats: the `.joblib` file of feature statistics (a dictionary of scikit-learn StandardScalers).
        generator_yaml: the generator's YAML file, `_target_: sifigan.models.SiFiGANGenerator`, or the whole training's.
        pd_indexing: `reflect` for a voice trained with the public code since March 2023, `zero` with that of 2022; the
            files do not tell.
        name: name of the voice.

    Returns:
        The constants, with the files' hashes as its provenance, and the generator in evaluation mode.

    Raises:
        CheckpointError: naming the file, the key, what was expected and what was got.

    """
    config = read_generator_config(generator_yaml)
    mcep, bap = read_statistics(stats, config)
    generator, steps = read_weights(checkpoint, config, pd_indexing)
    provenance = {
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": file_hash(checkpoint),
        "steps": "not stated" if steps is None else str(steps),
        "statistics": stats.name,
        "statistics_sha256": file_hash(stats),
        "generator": generator_yaml.name,
        "generator_sha256": file_hash(generator_yaml),
    }
    analysis = AnalysisSettings(mcep_order=len(mcep.mean) - 1)
    try:
        voice = Voice(name, mcep, bap, config, analysis, pd_indexing=pd_indexing, provenance=provenance)
    except VoiceError as error:
        raise CheckpointError(f"{generator_yaml} and {stats}: {error}") from None
    return voice, generator


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse a folder that holds a voice, unless it is to be overwritten.

    Raises:
        CheckpointError: naming the folder and what it holds.

    """
    if output.exists() and not output.is_dir():
        raise CheckpointError(f"{output}: is a file, expected the voice's folder")
    present = [name for name in (VOICE_FILE, WEIGHTS_FILE, CARD_FILE) if (output / name).exists()]
    if present and not overwrite:
        raise CheckpointError(
            f"{output}: holds {', '.join(present)} already: choose another folder or ask to overwrite"
        )


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

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from sifigan_triton.network.generator import Generator
from sifigan_triton.voice import CheckpointError
from sifigan_triton.voice.folder import load_voice
from sifigan_triton.voice.importing import import_voice
from tests.public_files import SMALL, STATS, PublicFiles, other_config, write_public_files


@pytest.fixture
def files(tmp_path: Path) -> PublicFiles:
    return write_public_files(tmp_path)


def run_import(files: PublicFiles, output: Path, **options: Any) -> Generator:
    options = {"pd_indexing": "reflect"} | options
    import_voice(files.checkpoint, files.stats, files.generator_yaml, output, **options)
    return load_voice(output)[1]


def test_voice_holds_statistics_origin_and_steps(files: PublicFiles, tmp_path: Path) -> None:
    voice = import_voice(
        files.checkpoint, files.stats, files.generator_yaml, tmp_path / "ritsu", pd_indexing="zero", license_text="CC0"
    )
    assert load_voice(tmp_path / "ritsu")[0] == voice
    assert voice.name == "ritsu"
    assert voice.pd_indexing == "zero"
    assert voice.generator == SMALL
    assert voice.analysis.mcep_order == 39
    assert voice.mcep.mean == pytest.approx([k - 1.0 for k in range(40)])
    assert voice.bap.scale == pytest.approx([0.5, 0.625, 0.75])
    assert voice.provenance["steps"] == "400000"
    assert voice.provenance["checkpoint"] == "checkpoint-400000steps.pkl"
    assert voice.provenance["statistics_sha256"] == hashlib.sha256(STATS.read_bytes()).hexdigest()
    assert "## Licence\n\nCC0\n" in (tmp_path / "ritsu" / "README.md").read_text()


def test_card_says_that_the_licence_is_missing(files: PublicFiles, tmp_path: Path) -> None:
    import_voice(
        files.checkpoint, files.stats, files.generator_yaml, tmp_path / "voice", pd_indexing="zero", name="Ritsu"
    )
    card = (tmp_path / "voice" / "README.md").read_text()
    assert card.startswith("# Ritsu\n")
    assert "Not stated. The imported files carry no licence" in card


@pytest.mark.parametrize("attribute", ["checkpoint", "stats", "generator_yaml"])
def test_missing_file_is_named(files: PublicFiles, tmp_path: Path, attribute: str) -> None:
    setattr(files, attribute, tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"absent: No such file or directory"):
        run_import(files, tmp_path / "voice")


def test_nothing_is_written_where_the_last_file_is_bad(files: PublicFiles, tmp_path: Path) -> None:
    files.edit_checkpoint(lambda state: state.pop("fn.output_conv.1.bias"))
    with pytest.raises(CheckpointError, match=r"fn\.output_conv\.1\.bias is missing"):
        run_import(files, tmp_path / "voice")
    assert not (tmp_path / "voice").exists()


def test_statistics_must_fit_the_generator(files: PublicFiles, tmp_path: Path) -> None:
    files.edit_yaml(lambda values: values.update(in_channels=44))
    with pytest.raises(CheckpointError, match=r"mcep has 40 coefficients and bap 3, 43 together.*in_channels = 44"):
        run_import(files, tmp_path / "voice")


def test_dense_factors_must_fit_the_scales(tmp_path: Path) -> None:
    config = other_config(upsample_scales=(6, 5, 4), source_dilations=((1,), (1, 2), (1,)))
    files = write_public_files(tmp_path, config)
    with pytest.raises(CheckpointError, match=r"sifigan\.yaml and .*stats\.joblib: dense_factors has 4 values"):
        run_import(files, tmp_path / "voice")
    assert not (tmp_path / "voice").exists()


def test_existing_voice_is_replaced_only_when_asked(files: PublicFiles, tmp_path: Path) -> None:
    output = tmp_path / "voice"
    run_import(files, output)
    (output / "notes.txt").write_text("mine")
    before = (output / "voice.json").read_bytes()
    with pytest.raises(CheckpointError, match=r"voice: holds voice\.json, generator\.safetensors, README\.md already"):
        run_import(files, output, pd_indexing="zero")
    assert (output / "voice.json").read_bytes() == before
    run_import(files, output, pd_indexing="zero", overwrite=True)
    assert load_voice(output)[0].pd_indexing == "zero"
    assert (output / "notes.txt").read_text() == "mine"


def test_output_that_is_a_file_is_refused(files: PublicFiles, tmp_path: Path) -> None:
    (tmp_path / "voice").write_text("")
    with pytest.raises(CheckpointError, match=r"voice: is a file, expected the voice's folder"):
        run_import(files, tmp_path / "voice")

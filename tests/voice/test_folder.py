"""Voice folders: written, read back, refused."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from preprocess.voice import VoiceError
from sifigan_triton.voice.folder import (
    CARD_FILE,
    VOICE_FILE,
    WEIGHTS_FILE,
    load_voice,
    random_voice,
    save_voice,
    voice_hash,
)
from tests.small_voice import random_inputs, run_generator, small_voice


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_voice(tmp_path / "voices" / "small", *small_voice(), "# Card\n")
    return tmp_path / "voices" / "small"


@pytest.mark.parametrize("mode", ["reflect", "zero"])
@pytest.mark.parametrize("sharing", [{}, {"share_upsamples": True, "share_downsamples": True}], ids=["own", "shared"])
def test_folder_there_and_back(tmp_path: Path, mode: str, sharing: dict[str, bool]) -> None:
    voice, generator = small_voice(mode, **sharing)  # type: ignore[arg-type]
    save_voice(tmp_path, voice, generator, "# Card\n")
    assert {path.name for path in tmp_path.iterdir()} == {VOICE_FILE, WEIGHTS_FILE, CARD_FILE}
    assert (tmp_path / CARD_FILE).read_text() == "# Card\n"
    again, loaded = load_voice(tmp_path)
    assert again == voice
    assert not loaded.training
    inputs = random_inputs(voice, 20)
    assert (run_generator(generator, inputs) == run_generator(loaded, inputs)).all()


def test_hash_follows_constants_and_weights_only(folder: Path) -> None:
    first = voice_hash(folder)
    (folder / CARD_FILE).write_text("another card")
    assert voice_hash(folder) == first
    save_voice(folder, *random_voice("small", channels=16, seed=1), "# Card\n")
    weights_only = voice_hash(folder)
    assert weights_only != first
    (folder / VOICE_FILE).write_text((folder / VOICE_FILE).read_text().replace("0.003", "0.004"))
    assert voice_hash(folder) not in (first, weights_only)


def test_absent_weights_are_named(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(VoiceError, match=re.escape(str(folder / WEIGHTS_FILE))):
        load_voice(folder)


def test_broken_weights_are_named(folder: Path) -> None:
    weights = folder / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(VoiceError, match=re.escape(str(weights))):
        load_voice(folder)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    save_voice(folder.parent / "wide", *random_voice(channels=32), "")
    (folder / WEIGHTS_FILE).write_bytes((folder.parent / "wide" / WEIGHTS_FILE).read_bytes())
    with pytest.raises(VoiceError, match=rf"{WEIGHTS_FILE} does not fit {VOICE_FILE}: (.|\n)*size mismatch"):
        load_voice(folder)


def test_random_voice_depends_on_its_seed_only() -> None:
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    weights = [random_voice(channels=16, seed=seed)[1].input_conv.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_random_voice_is_full_size_by_default() -> None:
    voice, generator = random_voice()
    assert voice.generator.channels == 512
    assert sum(parameter.numel() for parameter in generator.parameters()) == pytest.approx(8.67e6, rel=0.001)


def edit(folder: Path, **weights: torch.Tensor) -> None:
    """Put tensors into a folder's weights."""
    (folder / WEIGHTS_FILE).write_bytes(save(load_file(folder / WEIGHTS_FILE) | weights))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (float("nan"), torch.float32),
        (float("inf"), torch.float16),
        (float("nan"), torch.float8_e5m2),
        (1e300, torch.float64),
    ],
)
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float, dtype: torch.dtype) -> None:
    edit(folder, **{"output_conv.bias": torch.full((1,), value, dtype=torch.float64).to(dtype)})
    with pytest.raises(VoiceError, match=rf"{WEIGHTS_FILE}: output_conv\.bias holds NaN, infinity"):
        load_voice(folder)


def test_weights_that_are_whole_numbers_are_refused(folder: Path) -> None:
    edit(folder, **{"output_conv.bias": torch.ones(1, dtype=torch.int64)})
    with pytest.raises(
        VoiceError, match=rf"{WEIGHTS_FILE}: output_conv\.bias is torch\.int64, expected floating-point"
    ):
        load_voice(folder)


def test_header_that_claims_gigabytes_is_refused(folder: Path) -> None:
    weights = folder / WEIGHTS_FILE
    weights.write_bytes((2**40).to_bytes(8, "little") + weights.read_bytes()[8:])
    with pytest.raises(
        VoiceError, match=rf"{WEIGHTS_FILE}: the header has 1,099,511,627,776 bytes, expected at most 1,0"
    ):
        load_voice(folder)


def test_file_of_gigabytes_is_refused(folder: Path) -> None:
    os.truncate(folder / WEIGHTS_FILE, 2**40)  # a hole, which takes no space
    with pytest.raises(
        VoiceError, match=rf"{WEIGHTS_FILE}: the file has 1,099,511,627,776 bytes, expected at most 536"
    ):
        load_voice(folder)


def test_constants_of_a_network_that_would_be_too_large_are_refused(folder: Path) -> None:
    """Each of them is admitted, all together are not."""
    values = json.loads((folder / VOICE_FILE).read_text())
    many = {"filter_kernel_sizes": [63] * 16, "filter_dilations": [[1] * 16] * 16}
    values["generator"] |= {"channels": 2048, **many}
    (folder / VOICE_FILE).write_text(json.dumps(values))
    with pytest.raises(
        VoiceError, match=rf"{VOICE_FILE}: generator: channels = 2,048 with .* expected at most 67,108,864"
    ):
        load_voice(folder)

from __future__ import annotations

import copy
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from preprocess.voice import GeneratorConfig
from sifigan_triton.network.generator import Generator
from sifigan_triton.voice import CheckpointError
from sifigan_triton.voice.generator_yaml import read_generator_config
from sifigan_triton.voice.weights import read_weights
from tests.public_files import SMALL, PublicFiles, other_config, write_public_files

CONFIGS = {
    "default": SMALL,
    "shared-upsamples": other_config(share_upsamples=True),
    "shared-downsamples": other_config(share_downsamples=True),
    "other-additional-convs": other_config(source_additional_convs=False, filter_additional_convs=True),
    "no-bias": other_config(bias=False),
    "three-scales": other_config(
        upsample_scales=(6, 5, 4), source_dilations=((1,), (1, 2), (1,)), kernel_size=5, filter_kernel_sizes=(3, 5),
        filter_dilations=((1, 3), (2,)), negative_slope=0.2,
    ),
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> PublicFiles:
    return write_public_files(tmp_path)


def inputs(config: GeneratorConfig, frames: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    rows = len(config.pitch_dependent_convs)
    return (
        torch.randn(1, 1, frames * config.hop_size, generator=random),
        torch.randn(1, config.in_channels, frames, generator=random),
        torch.randint(1, 30, (1, rows, frames), generator=random),
    )


def read_generator(files: PublicFiles, config: GeneratorConfig) -> Generator:
    """Read YAML and weights alone: a voice would need as many scales as there are dense factors."""
    assert read_generator_config(files.generator_yaml) == config
    return read_weights(files.checkpoint, config, "reflect")[0]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_folded_weights_give_the_forward_of_the_unfolded_ones(tmp_path: Path, config: GeneratorConfig) -> None:
    files = write_public_files(tmp_path, config)
    imported = read_generator(files, config)
    with torch.no_grad():
        expected, got = files.generator(*inputs(config)), imported(*inputs(config))
    assert expected.std() > 0.01
    torch.testing.assert_close(got, expected, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("norm", ["weight_norm", "parametrization", "none"])
def test_every_form_of_weight_norm_is_read(tmp_path: Path, norm: str) -> None:
    files = write_public_files(tmp_path, norm=norm)
    imported = read_generator(files, SMALL)
    with torch.no_grad():
        torch.testing.assert_close(imported(*inputs(SMALL)), files.generator(*inputs(SMALL)), rtol=0.0, atol=1e-6)


def test_unused_layers_are_dropped_and_may_be_absent(files: PublicFiles) -> None:
    def strip(state: dict[str, Tensor]) -> None:
        unused = ("sn.output_conv.", "sn.downsamples.3.", "fn.downsamples.3.")
        dropped = [key for key in state if key.startswith(unused)]
        assert len(dropped) == 9
        for key in dropped:
            del state[key]

    with_unused = read_generator(files, SMALL).state_dict()
    files.edit_checkpoint(strip)
    without = read_generator(files, SMALL).state_dict()
    assert with_unused.keys() == without.keys()
    assert all(torch.equal(with_unused[key], without[key]) for key in without)


def test_prefix_of_data_parallel_training_is_read(files: PublicFiles) -> None:
    plain = read_generator(files, SMALL).state_dict()

    def wrap(state: dict[str, Tensor]) -> None:
        for key in list(state):
            state[f"module.{key}"] = state.pop(key)

    files.edit_checkpoint(wrap)
    wrapped = read_generator(files, SMALL).state_dict()
    assert all(torch.equal(wrapped[key], value) for key, value in plain.items())


def replace_tensor(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.update({key: value})


BAD_STATES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "missing-weight": (
        lambda s: [s.pop(f"sn.blocks.1.convsP.1.weight_{x}") for x in "gv"],
        r"400000steps\.pkl: sn\.blocks\.1\.convsP\.1\.weight_g \(or .*weight\) is missing.*both belong together",
    ),
    "missing-direction": (lambda s: s.pop("input_conv.weight_v"), r"input_conv\.weight_v is missing"),
    "missing-bias": (lambda s: s.pop("fn.output_conv.1.bias"), r"fn\.output_conv\.1\.bias is missing"),
    "unknown-key": (
        replace_tensor("sn.blocks.0.convsC.7.bias", torch.zeros(1)),
        r"1 unknown keys, the first is sn\.blocks\.0\.convsC\.7\.bias",
    ),
    "wrong-shape": (
        replace_tensor("sn.upsamples.0.1.weight_v", torch.ones(32, 16, 8)),
        r"sn\.upsamples\.0\.1\.weight_v has shape \(32, 16, 8\), expected \(32, 16, 10\)",
    ),
    "wrong-magnitude": (
        replace_tensor("sn.upsamples.0.1.weight_g", torch.ones(1, 16, 1)),
        r"weight_g has shape \(1, 16, 1\), expected \(32, 1, 1\)",
    ),
    "nan": (replace_tensor("sn.emb.bias", torch.full((2,), float("nan"))), r"sn\.emb\.bias holds NaN or infinity"),
    "beyond-fp32": (
        replace_tensor("sn.emb.bias", torch.full((2,), 1e300, dtype=torch.float64)),
        r"sn\.emb\.bias holds NaN or infinity",
    ),
    "zero-direction": (
        replace_tensor("sn.emb.weight_v", torch.zeros(2, 1, 7)),
        r"sn\.emb\.weight_v has a row of zeros",
    ),
    "integers": (replace_tensor("sn.emb.bias", torch.zeros(2, dtype=torch.int64)), r"sn\.emb\.bias is torch\.int64"),
    "no-tensor": (replace_tensor("sn.emb.bias", 3.0), r"sn\.emb\.bias is float, expected a tensor"),
}


@pytest.mark.parametrize(("edit", "message"), BAD_STATES.values(), ids=BAD_STATES.keys())
def test_bad_state_is_refused(files: PublicFiles, edit: Callable[[dict[str, Any]], Any], message: str) -> None:
    files.edit_checkpoint(edit)
    with pytest.raises(CheckpointError, match=message):
        read_generator(files, SMALL)


class RunsCommand:
    """An object whose unpickling would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


BAD_CHECKPOINTS: dict[str, tuple[Any, str]] = {
    "no-model": ({"steps": 3}, r"\['model'\]\['generator'\] is missing \(found steps\)"),
    "no-generator": ({"model": {"discriminator": {}}}, r"is missing \(found discriminator\)"),
    "no-dictionary": ([1, 2], r"holds a list, expected a dictionary with the key 'model'"),
    "generator-is-number": ({"model": {"generator": 3}}, r"is int, expected a state dictionary"),
}


@pytest.mark.parametrize(("content", "message"), BAD_CHECKPOINTS.values(), ids=BAD_CHECKPOINTS.keys())
def test_bad_checkpoint_is_refused(files: PublicFiles, content: object, message: str) -> None:
    torch.save(content, files.checkpoint)
    with pytest.raises(CheckpointError, match=message):
        read_generator(files, SMALL)


def test_checkpoint_that_runs_code_is_refused(files: PublicFiles, tmp_path: Path) -> None:
    torch.save({"model": {"generator": {}}, "steps": RunsCommand(tmp_path / "made")}, files.checkpoint)
    with pytest.raises(CheckpointError, match=r"400000steps\.pkl: refused, it holds more than tensors.*system"):
        read_generator(files, SMALL)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut short"], ids=["empty", "text", "zip"])
def test_damaged_checkpoint_is_refused(files: PublicFiles, content: bytes) -> None:
    files.checkpoint.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"400000steps\.pkl: "):
        read_generator(files, SMALL)


def repack(
    path: Path,
    method: int = zipfile.ZIP_STORED,
    extra: bytes = b"",
    name: str = "archive/data/zeros",
    edit: Callable[[bytes], bytes] | None = None,
) -> None:
    """Write the entries of a checkpoint anew: packed, with one more entry, with another pickle."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for entry, data in entries.items():
            archive.writestr(entry, edit(data) if edit and entry.endswith("data.pkl") else data)
        if extra:
            archive.writestr(name, extra)


def overlap(path: Path) -> None:
    """Let 1,000 names stand for the same bytes: the bomb of an archive that packs nothing."""
    with zipfile.ZipFile(path, "a") as archive:
        first = max(archive.infolist(), key=lambda entry: entry.file_size)
        for index in range(1000):
            entry = copy.copy(first)
            entry.filename = f"archive/data/{index:05}"
            archive.filelist.append(entry)
        archive._didModify = True  # type: ignore[attr-defined]


def many_names(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist.extend(copy.copy(archive.infolist()[0]) for _ in range(20000))
        archive._didModify = True  # type: ignore[attr-defined]


def pickle_of(data: bytes) -> Callable[[Path], None]:
    return lambda path: repack(path, edit=lambda _: data)


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "packed": (
        lambda path: repack(path, zipfile.ZIP_DEFLATED, bytes(2**20)),
        r"400000steps\.pkl: .* is packed in a way that is not read, .*expected a file that torch\.save of PyTorch 1\.6",
    ),
    "overlapping": (overlap, r"unpacks to .* bytes, expected at most"),
    "directory": (many_names, r"has a directory of .* bytes, expected at most 1,048,576"),
    "large": (lambda path: os.truncate(path, 2**40), r"has 1,099,511,627,776 bytes, expected at most 4,294,967,296"),
    "large-pickle": (
        pickle_of(b"\x80\x02(" + b"]" * 2**20 + b"l."),
        r"data\.pkl has .* bytes, expected at most 1,048,576",
    ),
    "bytearray": (
        pickle_of(b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10\x85R."),
        r"refused, it holds more than tensors .*; nothing was run \(asks for the global __builtin__\.bytearray\)",
    ),
    "key-that-is-never-hashed": (
        pickle_of(b"\x80\x02}K\x01" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(40)) + b"K\x01s."),
        r"data\.pkl uses tuples more than once, 39 times, expected at most 16",
    ),
    "name-made-while-read": (
        pickle_of(b"\x80\x04\x8c\x02os\x8c\x06system\x93."),
        r"nothing was run \(asks for .* a name made",
    ),
    "two-pickles": (
        lambda path: repack(path, extra=b"N.", name="other/data.pkl"),
        r"holds 2 pickles, expected one",
    ),
    "before-1.6": (
        lambda path: torch.save({}, path, _use_new_zipfile_serialization=False),
        r"expected a file that torch\.save of PyTorch 1\.6 or later wrote",
    ),
}


@pytest.mark.parametrize(("edit", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_checkpoint_that_takes_more_than_its_bytes_is_refused(
    files: PublicFiles, edit: Callable[[Path], None], message: str
) -> None:
    edit(files.checkpoint)
    with pytest.raises(CheckpointError, match=message):
        read_generator(files, SMALL)


def test_checkpoint_packed_as_pytorch_packs_is_read(files: PublicFiles) -> None:
    repack(files.checkpoint)
    read_generator(files, SMALL)


WITHOUT_NUMBERS = {
    "stride-0": (torch.zeros(1).expand(2**20), r"sn\.emb\.bias has shape \(1048576,\), expected \(2,\)"),
    "sparse": (torch.zeros(2).to_sparse(), r"asks for the global torch\._utils\._rebuild_sparse_tensor"),
    "meta": (torch.zeros(2, device="meta"), r"asks for the global torch\._utils\._rebuild_meta_tensor_no_storage"),
}


@pytest.mark.parametrize(("value", "message"), WITHOUT_NUMBERS.values(), ids=WITHOUT_NUMBERS.keys())
def test_tensor_without_numbers_of_its_own_is_refused(files: PublicFiles, value: Tensor, message: str) -> None:
    files.edit_checkpoint(replace_tensor("sn.emb.bias", value))
    with pytest.raises(CheckpointError, match=message):
        read_generator(files, SMALL)


@pytest.mark.parametrize("content", [RunsCommand(Path("made")), torch.jit.ScriptModule], ids=["code", "class"])
def test_no_refusal_explains_how_to_load_unsafely(files: PublicFiles, content: object) -> None:
    torch.save({"model": content}, files.checkpoint)
    with pytest.raises(CheckpointError) as refusal:
        read_generator(files, SMALL)
    assert not re.search(r"safe_globals|weights_only|allowlist|allow_pickle", str(refusal.value))

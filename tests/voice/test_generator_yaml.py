from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from preprocess.voice import GeneratorConfig
from sifigan_triton.voice import CheckpointError
from sifigan_triton.voice.generator_yaml import read_generator_config
from tests.public_files import yaml_values


@pytest.fixture
def values() -> dict[str, Any]:
    return yaml_values(GeneratorConfig())


def read(tmp_path: Path, values: object) -> GeneratorConfig:
    path = tmp_path / "generator.yaml"
    path.write_text(yaml.safe_dump(values))
    return read_generator_config(path)


def test_full_file_is_read(tmp_path: Path, values: dict[str, Any]) -> None:
    assert read(tmp_path, values) == GeneratorConfig()


def test_missing_keys_take_the_public_defaults(tmp_path: Path) -> None:
    target = "sifigan.models.SiFiGANGenerator"
    assert read(tmp_path, {"_target_": target, "in_channels": 45}) == GeneratorConfig(in_channels=45)


def test_bare_number_is_a_list_of_one_dilation(tmp_path: Path, values: dict[str, Any]) -> None:
    values["source_network_params"]["resblock_dilations"] = [3, [1, 2], [1], 5]
    assert read(tmp_path, values).source_dilations == ((3,), (1, 2), (1,), (5,))


def test_empty_activation_parameters_take_the_slope_of_pytorch(tmp_path: Path, values: dict[str, Any]) -> None:
    values["nonlinear_activation_params"] = {}
    assert read(tmp_path, values).negative_slope == 0.01


BAD_VALUES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "target": (
        lambda v: v.update(_target_="sifigan.models.HiFiGANGenerator"),
        r"generator\.yaml: _target_ is 'sifigan\.models\.HiFiGANGenerator', expected sifigan\.models\.SiFiGANGenerator",
    ),
    "direct": (lambda v: v.update(_target_="sifigan.models.SiFiGANDirectGenerator"), r"_target_ is .*Direct"),
    "no-target": (lambda v: v.pop("_target_"), r"_target_ is missing"),
    "whole-config": (
        lambda v: (inner := dict(v), v.clear(), v.update(generator=inner)),
        r"_target_ is missing.*write the part under generator: into a file of its own",
    ),
    "no-in-channels": (lambda v: v.pop("in_channels"), r"in_channels is missing, expected a whole number above zero"),
    "interpolation": (lambda v: v.update(in_channels="${data.width}"), r"in_channels is '\$\{data\.width\}', expected"),
    "boolean-as-number": (lambda v: v.update(channels=True), r"channels is True, expected a whole number"),
    "number-as-boolean": (lambda v: v.update(bias=1), r"bias is 1, expected true or false"),
    "unknown": (lambda v: v.update(use_snake=True), r"unknown key use_snake, expected some of _target_, bias"),
    "unknown-nested": (
        lambda v: v["source_network_params"].update(gate=1),
        r"unknown key source_network_params\.gate",
    ),
    "activation": (lambda v: v.update(nonlinear_activation="Snake"), r"nonlinear_activation is 'Snake'.*'LeakyReLU'"),
    "out-channels": (lambda v: v.update(out_channels=2), r"out_channels is 2, expected 1, the only value served here"),
    "out-channels-boolean": (lambda v: v.update(out_channels=True), r"out_channels is True, expected 1"),
    "kernel-3": (
        lambda v: v["source_network_params"].update(resblock_kernel_size=5),
        r"source_network_params\.resblock_kernel_size is 5, expected 3",
    ),
    "upsample-kernels": (
        lambda v: v.update(upsample_kernel_sizes=[10, 8, 6, 5]),
        r"upsample_kernel_sizes is \[10, 8, 6, 5\], expected \[10, 8, 6, 4\]",
    ),
    "missing-nested": (
        lambda v: v["filter_network_params"].pop("resblock_dilations"),
        r"filter_network_params\.resblock_dilations is missing, expected a list of lists",
    ),
    "nested-no-mapping": (
        lambda v: v.update(source_network_params=3),
        r"source_network_params is 3, expected a mapping",
    ),
    "slope": (
        lambda v: v.update(nonlinear_activation_params={"negative_slope": "x"}),
        r"nonlinear_activation_params\.negative_slope is 'x', expected a number",
    ),
    "inconsistent": (lambda v: v.update(channels=40), r"generator\.yaml: channels is 40, expected a multiple of 16"),
}


@pytest.mark.parametrize(("edit", "message"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_bad_value_is_named(
    tmp_path: Path, values: dict[str, Any], edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit(values)
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", r"not a YAML file: "),
        ("- 1", r"holds \[1\], expected a mapping"),
        ("", r"holds None, expected a mapping"),
        ("!!python/object/apply:os.system ['true']", r"not a YAML file: .*could not determine a constructor"),
    ],
    ids=["syntax", "list", "empty", "code"],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "generator.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_generator_config(tmp_path / "generator.yaml")

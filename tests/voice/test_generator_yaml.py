from __future__ import annotations

import json
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


def test_generator_section_of_a_training_yaml_is_read(tmp_path: Path, values: dict[str, Any]) -> None:
    data = {
        "sample_rate": 24000,
        "hop_size": 120,
        "dense_factors": [0.5, 1, 4, 8],
        "sine_amp": 0.1,
        "noise_amp": 0.003,
        "signal_types": ["sine"],
        "sine_f0_type": "cf0",
        "df_f0_type": "cf0",
        "aux_feats": ["mcep", "bap"],
        "batch_size": 16,
    }
    whole = {"generator": values, "data": data, "train": {"train_max_steps": 400000}}
    assert read(tmp_path, whole) == GeneratorConfig()
    assert read(tmp_path, {"generator": values}) == GeneratorConfig()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sample_rate": 48000}, r"data\.sample_rate is 48000, expected 24000"),
        ({"hop_size": 240}, r"data\.hop_size is 240, expected 120"),
        ({"dense_factors": [0.5, 1, 4, 16]}, r"data\.dense_factors is \[0\.5, 1, 4, 16\], expected \[0\.5, 1\.0"),
        ({"noise_amp": 0.01}, r"data\.noise_amp is 0\.01, expected 0\.003"),
        ({"sine_f0_type": "f0"}, r"data\.sine_f0_type is 'f0', expected 'cf0', the only value served here"),
        ({"df_f0_type": "f0"}, r"data\.df_f0_type is 'f0', expected 'cf0'"),
        ({"aux_feats": ["logmsp"]}, r"data\.aux_feats is \['logmsp'\], expected \['mcep', 'bap'\]"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_data_section_that_is_not_served_is_refused(
    tmp_path: Path, values: dict[str, Any], data: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, {"generator": values, "data": data})


def test_whole_training_of_nnsvs_is_named(tmp_path: Path, values: dict[str, Any]) -> None:
    """Its rate and hop are refused too, but tell less."""
    values |= {"upsample_scales": [5, 4, 4, 3], "upsample_kernel_sizes": [10, 8, 8, 6], "in_channels": 65}
    with pytest.raises(CheckpointError, match=r"generator\.upsample_scales is .* \(NNSVS and ENUNU write such voices"):
        read(tmp_path, {"generator": values, "data": {"sample_rate": 48000, "hop_size": 240, "sine_f0_type": "f0"}})


def test_value_in_a_section_is_named_with_its_section(tmp_path: Path, values: dict[str, Any]) -> None:
    values["source_network_params"]["gate"] = 1
    with pytest.raises(CheckpointError, match=r"unknown key generator\.source_network_params\.gate"):
        read(tmp_path, {"generator": values})
    with pytest.raises(CheckpointError, match=r"generator is 'sifigan', expected a mapping"):
        read(tmp_path, {"generator": "sifigan"})


BAD_VALUES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "target": (
        lambda v: v.update(_target_="sifigan.models.HiFiGANGenerator"),
        r"generator\.yaml: _target_ is 'sifigan\.models\.HiFiGANGenerator', expected sifigan\.models\.SiFiGANGenerator",
    ),
    "direct": (lambda v: v.update(_target_="sifigan.models.SiFiGANDirectGenerator"), r"_target_ is .*Direct"),
    "no-target": (lambda v: v.pop("_target_"), r"_target_ is missing"),
    "nnsvs-48-khz": (
        lambda v: v.update(upsample_scales=[5, 4, 4, 3], upsample_kernel_sizes=[10, 8, 8, 6], in_channels=65),
        r"upsample_scales is \[5, 4, 4, 3\], a hop of 240 samples \(NNSVS and ENUNU write such voices, at 48 kHz\), "
        r"expected a hop of 120, as \[5, 4, 3, 2\] has: only voices of 24 kHz are served",
    ),
    "other-hop": (
        lambda v: v.update(upsample_scales=[8, 8, 2, 2], upsample_kernel_sizes=[16, 16, 4, 4]),
        r"upsample_scales is \[8, 8, 2, 2\], a hop of 256 samples, expected a hop of 120",
    ),
    "usfgan": (
        lambda v: v.update(_target_="nnsvs.usfgan.models.generator.USFGANGenerator", aux_context_window=2),
        r"aux_context_window is 2: this is the generator of uSFGAN, another network",
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


def laughs() -> str:
    """Return some 300 bytes that stand for 10^10 words."""
    lines = ["a0: &a0 [" + ",".join("x" * 10) + "]"]
    lines += [f"a{i}: &a{i} [" + ",".join([f"*a{i - 1}"] * 9) + "]" for i in range(1, 7)]
    return "\n".join(lines)


HOSTILE: dict[str, tuple[str, str]] = {
    "aliases": (laughs(), r"generator\.yaml: .*line 2: \*a0 is an alias, expected the value itself"),
    "endless": ("a: &a [*a]", r"line 1: \*a is an alias"),
    "merged": ("a: &a {b: 1}\nc: {<<: *a}", r"line 2: \*a is an alias"),
    "lists": ("a: " + "[" * 20000 + "]" * 20000, r"nested deeper than 16 levels"),
    "mappings": ("a: " + "{a: " * 5000 + "}" * 5000, r"nested deeper than 16 levels"),
    "large": ("# " + "x" * 2**16, r"has more than 65,536 bytes"),
    "digits": ("a: " + "1" * 5000, r"not a YAML file: .*digits"),
    "base-60": ("a: 1" + ":1" * 30000 + ".5", r"not a YAML file: int too large"),
    "no-date": ("a: 2001-99-99", r"not a YAML file: .*month"),
    "bits": ("_target_: 0x" + "f" * 60000, r"_target_ is a number of 240,000 bits, expected"),
}


@pytest.mark.parametrize(("text", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_file_that_stands_for_more_than_its_bytes_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "generator.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_generator_config(tmp_path / "generator.yaml")


MANY = 10000
TOO_LARGE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "channels": (
        lambda v: v.update(channels=2**40),
        r"generator\.yaml: channels: 1099511627776, expected at most 2,048",
    ),
    "width": (lambda v: v.update(in_channels=2**62), r"in_channels: .*, expected at most 1,024"),
    "kernel": (lambda v: v.update(kernel_size=2**31 - 1), r"kernel_size: .*, expected at most 63"),
    "dilations": (
        lambda v: v["source_network_params"].update(resblock_dilations=[[1], [1], [1], [1] * MANY]),
        r"source_network_params\.resblock_dilations has 10,000 entries, expected at most 16",
    ),
    "lists": (
        lambda v: v["filter_network_params"].update(resblock_dilations=[1] * MANY),
        r"filter_network_params\.resblock_dilations has 10,000 entries",
    ),
    "dilation": (
        lambda v: v["filter_network_params"].update(resblock_dilations=[[10**9], [1], [1]]),
        r"filter_network_params\.resblock_dilations: 1000000000, expected at most 512",
    ),
    "scales": (lambda v: v.update(upsample_scales=[1] * MANY), r"upsample_scales has 10,000 entries"),
    "altogether": (
        lambda v: (
            v.update(channels=2048),
            v["filter_network_params"].update(resblock_kernel_sizes=[63] * 16, resblock_dilations=[[1] * 16] * 16),
        ),
        r"generator\.yaml: channels = 2,048 with these .* make .* weights, expected at most 67,108,864",
    ),
}


@pytest.mark.parametrize(("edit", "message"), TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_network_that_would_be_too_large_is_refused(
    tmp_path: Path, values: dict[str, Any], edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit(values)
    path = tmp_path / "generator.yaml"
    path.write_text(json.dumps(values))  # YAML too, without aliases
    with pytest.raises(CheckpointError, match=message):
        read_generator_config(path)

"""The generator in a YAML file of the public training code: its own file, or that of a whole training."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import yaml

from preprocess import limits
from preprocess.limits import shown
from preprocess.voice import GeneratorConfig, Voice, VoiceError
from sifigan_triton.files import read_at_most
from sifigan_triton.voice import CheckpointError
from sifigan_triton.voice.folder import check_size

MAX_BYTES = 2**16
"""Largest YAML file, in bytes; a whole training's has some 4,000."""

MAX_DEPTH = 16
"""Deepest nesting of the file; a whole training's has 4."""

TARGET = "sifigan.models.SiFiGANGenerator"

_SOURCE_DEFAULTS: dict[str, Any] = {
    "resblock_kernel_size": 3,
    "resblock_dilations": [1, [1, 2], [1, 2, 4], [1, 2, 4, 8]],  # the first is `(1)` in the public code: an int
    "use_additional_convs": True,
}
_FILTER_DEFAULTS: dict[str, Any] = {
    "resblock_kernel_sizes": [3, 5, 7],
    "resblock_dilations": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "use_additional_convs": False,
}
DEFAULTS: dict[str, Any] = {
    "out_channels": 1,
    "channels": 512,
    "kernel_size": 7,
    "upsample_scales": [5, 4, 3, 2],
    "upsample_kernel_sizes": [10, 8, 6, 4],
    "source_network_params": _SOURCE_DEFAULTS,
    "filter_network_params": _FILTER_DEFAULTS,
    "share_upsamples": False,
    "share_downsamples": False,
    "bias": True,
    "nonlinear_activation": "LeakyReLU",
    "nonlinear_activation_params": {"negative_slope": 0.1},
    "use_weight_norm": True,
}
"""Default arguments of the public `SiFiGANGenerator`; `in_channels` has none."""

HOP_SIZE = GeneratorConfig().hop_size
"""Samples a frame of the voices served."""

_DATA: dict[str, Any] = {
    "sample_rate": Voice.sample_rate,
    "hop_size": HOP_SIZE,
    "dense_factors": list(Voice.dense_factors),
    "sine_amp": Voice.sine_amp,
    "noise_amp": Voice.noise_amp,
    "signal_types": ["sine"],
    "sine_f0_type": "cf0",
    "df_f0_type": "cf0",
    "aux_feats": ["mcep", "bap"],
}
"""What the section `data` of a training's file may say of the features; the generator's own file says nothing."""


class _Loader(yaml.SafeLoader):
    """Reads YAML without aliases, by which a file of 300 bytes stands for gigabytes, and without deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse what may be much larger than the file."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        where = f"line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(
                f"{where}: *{str(event.anchor)[:20]} is an alias, expected the value itself in its place"
            )
        if self.depth >= MAX_DEPTH:
            raise yaml.YAMLError(f"{where}: nested deeper than {MAX_DEPTH} levels, expected the 2 to 4 of public files")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Section:
    """A mapping of the file; every getter names file, key, expected and got when it fails."""

    def __init__(self, path: Path, values: Any, known: Mapping[str, Any], prefix: str = "") -> None:
        self.path, self.prefix = path, prefix
        if not isinstance(values, dict):
            where = f"{prefix.rstrip('.')} is" if prefix else "holds"
            raise CheckpointError(f"{path}: {where} {shown(values)}, expected a mapping such as 'in_channels: 43'")
        unknown = sorted(key if isinstance(key, str) else shown(key) for key in values if key not in known)
        if unknown:
            raise CheckpointError(
                f"{path}: unknown key {prefix}{unknown[0][:60]}, expected some of {', '.join(sorted(known))}"
            )
        self.values = values

    def error(self, key: str, expected: str) -> CheckpointError:
        """Describe a value that is not as expected."""
        got = f"is {shown(self.values[key])}" if key in self.values else "is missing"
        return CheckpointError(f"{self.path}: {self.prefix}{key} {got}, expected {expected}")

    def whole(self, key: str, most: int) -> int:
        """Return a whole number above zero."""
        return self._whole(key, self.values.get(key), most)

    def boolean(self, key: str) -> bool:
        """Return true or false."""
        value = self.values.get(key)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def wholes(self, key: str, most: int) -> tuple[int, ...]:
        """Return a list of whole numbers."""
        return self._wholes(key, self.values.get(key), most)

    def lists(self, key: str, most: int) -> tuple[tuple[int, ...], ...]:
        """Return a list of lists of whole numbers; a bare number stands for a list of one."""
        value = self.values.get(key)
        if not isinstance(value, list) or not value:
            raise self.error(key, "a list of lists of whole numbers")
        self._check_count(key, value)
        return tuple(self._wholes(key, [v] if isinstance(v, int) else v, most) for v in value)

    def only(self, key: str, supported: object) -> None:
        """Refuse any value but the one that is supported."""
        value = self.values.get(key)
        if value != supported or isinstance(value, bool) != isinstance(supported, bool):
            raise self.error(key, f"{supported!r}, the only value served here")

    def _whole(self, key: str, value: Any, most: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error(key, "a whole number above zero")
        if value > most:
            raise CheckpointError(f"{self.path}: {self.prefix}{key}: {shown(value)}, expected at most {most:,}")
        return value

    def _wholes(self, key: str, value: Any, most: int) -> tuple[int, ...]:
        if not isinstance(value, list) or not value:
            raise self.error(key, "a list of whole numbers")
        self._check_count(key, value)
        return tuple(self._whole(key, v, most) for v in value)

    def _check_count(self, key: str, value: list[Any]) -> None:
        if len(value) > limits.MAX_LAYERS:
            raise CheckpointError(
                f"{self.path}: {self.prefix}{key} has {len(value):,} entries, expected at most {limits.MAX_LAYERS}"
            )


def read_generator_config(path: Path) -> GeneratorConfig:
    """Read the hyperparameters of a SiFi-GAN generator; missing ones take the defaults of the public code.

    Args:
        path: a file such as `sifigan/bin/config/generator/sifigan.yaml` of the public code, or the configuration of a
            training, whose section `generator` is read and whose section `data` is checked.

    Raises:
        CheckpointError: naming file, key, what was expected and what was got, if the file is not such a YAML file or
            describes a network that is not served here.

    """
    raw, prefix, data = _read(path)
    main = _Section(path, DEFAULTS | raw, {**DEFAULTS, "in_channels": None, "_target_": None}, prefix)
    main.only("out_channels", 1)
    main.only("nonlinear_activation", "LeakyReLU")
    main.boolean("use_weight_norm")
    scales = _scales(main)
    _check_data(path, data)
    main.only("upsample_kernel_sizes", [2 * scale for scale in scales])
    # Inside a nested mapping the public code has no defaults: a key that is missing there is an error.
    source = _Section(path, main.values["source_network_params"], _SOURCE_DEFAULTS, f"{prefix}source_network_params.")
    filters = _Section(path, main.values["filter_network_params"], _FILTER_DEFAULTS, f"{prefix}filter_network_params.")
    source.only("resblock_kernel_size", 3)
    try:
        config = GeneratorConfig(
            in_channels=main.whole("in_channels", limits.MAX_FEATURES),
            channels=main.whole("channels", limits.MAX_CHANNELS),
            kernel_size=main.whole("kernel_size", limits.MAX_KERNEL),
            upsample_scales=scales,
            source_dilations=source.lists("resblock_dilations", limits.MAX_DILATION),
            source_additional_convs=source.boolean("use_additional_convs"),
            filter_kernel_sizes=filters.wholes("resblock_kernel_sizes", limits.MAX_KERNEL),
            filter_dilations=filters.lists("resblock_dilations", limits.MAX_DILATION),
            filter_additional_convs=filters.boolean("use_additional_convs"),
            share_upsamples=main.boolean("share_upsamples"),
            share_downsamples=main.boolean("share_downsamples"),
            bias=main.boolean("bias"),
            negative_slope=_negative_slope(path, main),
        )
        check_size(config)
        return config
    except CheckpointError:
        raise
    except VoiceError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _read(path: Path) -> tuple[dict[str, Any], str, Any]:
    """Return the generator's arguments, what stands in front of their names, and the section `data` of a training."""
    try:
        raw = yaml.load(read_at_most(path, MAX_BYTES).decode(), _Loader)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # also dates and numbers that Python does not make
        raise CheckpointError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path}: holds {shown(raw)}, expected a mapping with _target_: {TARGET}")
    prefix, data = "", {}
    if "_target_" not in raw and "generator" in raw:
        raw, prefix, data = raw["generator"], "generator.", raw.get("data", {})
        if not isinstance(raw, dict):
            raise CheckpointError(f"{path}: generator is {shown(raw)}, expected a mapping with _target_: {TARGET}")
    _check_network(path, raw, prefix)
    return raw, prefix, data


def _check_data(path: Path, values: Any) -> None:
    """Refuse a training on features that are not those served here; what does not describe features is left alone."""
    section = _Section(path, values, values, "data.")
    for key, served in _DATA.items():
        if key in section.values:
            section.only(key, served)


def _check_network(path: Path, raw: Mapping[str, Any], prefix: str) -> None:
    """Refuse another network by name."""
    if "aux_context_window" in raw:
        raise CheckpointError(
            f"{path}: {prefix}aux_context_window is {shown(raw['aux_context_window'])}: this is the generator of "
            f"uSFGAN, another network, expected {TARGET}"
        )
    if "_target_" not in raw:
        raise CheckpointError(f"{path}: {prefix}_target_ is missing, expected {TARGET}")
    if raw["_target_"] != TARGET:
        raise CheckpointError(
            f"{path}: {prefix}_target_ is {shown(raw['_target_'])}, expected {TARGET}: other networks are not served "
            "here"
        )


def _scales(main: _Section) -> tuple[int, ...]:
    """Return the up-sampling scales, whose product must be the hop of the voices served."""
    scales = main.wholes("upsample_scales", limits.MAX_SCALE)
    if prod(scales) != HOP_SIZE:
        origin = " (NNSVS and ENUNU write such voices, at 48 kHz)" if scales == (5, 4, 4, 3) else ""
        raise CheckpointError(
            f"{main.path}: {main.prefix}upsample_scales is {list(scales)}, a hop of {prod(scales)} samples{origin}, "
            f"expected a hop of {HOP_SIZE}, as {DEFAULTS['upsample_scales']} has: only voices of 24 kHz are served"
        )
    return scales


def _negative_slope(path: Path, main: _Section) -> float:
    """Return the slope of the leaky ReLU; an empty mapping takes PyTorch's default, as in the public code."""
    known = {"negative_slope": 0.0, "inplace": False}
    params = _Section(
        path, main.values["nonlinear_activation_params"], known, f"{main.prefix}nonlinear_activation_params."
    )
    slope = params.values.get("negative_slope", 0.01)
    if isinstance(slope, bool) or not isinstance(slope, int | float) or not 0.0 <= slope < 1.0:
        raise params.error("negative_slope", "a number from 0 to below 1")
    return float(slope)

"""Hyperparameters of a voice's generator."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import prod
from typing import Any

from . import limits
from .limits import VoiceError, refuse


@dataclass(frozen=True)
class GeneratorConfig:
    """Hyperparameters of the SiFi-GAN generator (arXiv 2210.15533), under the names of the public training code."""

    in_channels: int = 43
    channels: int = 512
    kernel_size: int = 7
    upsample_scales: tuple[int, ...] = (5, 4, 3, 2)
    source_dilations: tuple[tuple[int, ...], ...] = ((1,), (1, 2), (1, 2, 4), (1, 2, 4, 8))
    source_additional_convs: bool = True
    filter_kernel_sizes: tuple[int, ...] = (3, 5, 7)
    filter_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    filter_additional_convs: bool = False
    share_upsamples: bool = False
    share_downsamples: bool = False
    bias: bool = True
    negative_slope: float = 0.1

    def __post_init__(self) -> None:
        """Check that the hyperparameters fit each other.

        Raises:
            VoiceError: naming the hyperparameter, what was expected and what was got.

        """
        self._check_limits()
        scales = len(self.upsample_scales)
        if len(self.source_dilations) != scales:
            raise VoiceError(
                f"source_dilations has {len(self.source_dilations)} entries, expected one for each of the "
                f"{scales} upsample_scales"
            )
        if len(self.filter_dilations) != len(self.filter_kernel_sizes):
            raise VoiceError(
                f"filter_dilations has {len(self.filter_dilations)} entries, expected one for each of the "
                f"{len(self.filter_kernel_sizes)} filter_kernel_sizes"
            )
        if self.channels % 2**scales:
            raise VoiceError(f"channels is {self.channels}, expected a multiple of {2**scales} (halved at every scale)")
        for size in (self.kernel_size, *self.filter_kernel_sizes):
            if size % 2 == 0:
                raise VoiceError(f"kernel size is {size}, expected an odd number")

    def _check_limits(self) -> None:
        """Refuse what no network can be made of, before one is."""
        for key, highest in (
            ("in_channels", limits.MAX_FEATURES),
            ("channels", limits.MAX_CHANNELS),
            ("kernel_size", limits.MAX_KERNEL),
        ):
            refuse(key, limits.whole_fault(getattr(self, key), 1, highest))
        for key, highest in (("upsample_scales", limits.MAX_SCALE), ("filter_kernel_sizes", limits.MAX_KERNEL)):
            refuse(key, limits.wholes_fault(getattr(self, key), highest))
        for key in ("source_dilations", "filter_dilations"):
            refuse(key, _dilations_fault(getattr(self, key)))
        for key in (f.name for f in fields(self) if f.type == "bool"):
            value = getattr(self, key)
            refuse(key, None if isinstance(value, bool) else f"is {limits.shown(value)}, expected true or false")
        refuse("negative_slope", limits.number_fault(self.negative_slope, 0.0, 1.0))
        refuse("upsample_scales: the hop", limits.whole_fault(self.hop_size, 1, limits.MAX_HOP))

    @property
    def hop_size(self) -> int:
        """Samples of output a frame."""
        return prod(self.upsample_scales)

    @property
    def rates(self) -> tuple[int, ...]:
        """Samples a frame after each up-sampling stage: (5, 20, 60, 120) by default."""
        return tuple(prod(self.upsample_scales[: i + 1]) for i in range(len(self.upsample_scales)))

    @property
    def pitch_dependent_convs(self) -> tuple[tuple[int, int], ...]:
        """(stage, dilation) of each pitch-dependent convolution, in the order of the rows of `offsets`."""
        return tuple((stage, d) for stage, dilations in enumerate(self.source_dilations) for d in dilations)


def _dilations_fault(value: Any) -> str | None:
    """Say what is wrong with what should be a short tuple of short tuples of dilations."""
    if not isinstance(value, tuple):
        return f"is {limits.shown(value)}, expected a list of lists of whole numbers"
    if len(value) > limits.MAX_LAYERS:
        return f"has {len(value):,} entries, expected at most {limits.MAX_LAYERS}"
    faults = (limits.wholes_fault(entry, limits.MAX_DILATION) for entry in value)
    return next((fault for fault in faults if fault), None)

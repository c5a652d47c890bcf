"""Reduced precision: which layers of a generator compute in FP16 or BF16, and how a CPU imitates matrix units."""

from __future__ import annotations

from collections.abc import Callable, Collection
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv_transpose1d
from torch.overrides import TorchFunctionMode

from sifigan_triton.network.generator import Generator

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Type of the weights for each precision."""
_CONVOLUTIONS = (conv1d, conv_transpose1d)


def layer_groups(generator: Generator) -> dict[str, list[nn.Module]]:
    """Return the groups of layers whose precision can be chosen, in the order of the data.

    The names are those of the build's crop plan, with hyphens. A voice whose filter network shares the source network's
    up- or down-sampling layers has them in the source network's groups. The last convolution is in none: it makes one
    channel, 0.01 % of the arithmetic, and always computes in FP32.
    """
    stages = range(len(generator.config.upsample_scales))
    shared_up = generator.filter_upsamples is generator.source_upsamples
    shared_down = generator.filter_downsamples is generator.source_downsamples
    groups: dict[str, list[nn.Module]] = {
        "input": [generator.input_conv],
        "excitation-down": [generator.excitation_conv, generator.source_downsamples],
        **{f"source-{i + 1}": [generator.source_upsamples[i], generator.source_stages[i]] for i in stages},
        "source-down": [] if shared_down else [generator.filter_downsamples],
        **{
            f"filter-{i + 1}": [generator.filter_stages[i], *([] if shared_up else [generator.filter_upsamples[i]])]
            for i in stages
        },
    }
    return {name: layers for name, layers in groups.items() if layers}


def check_groups(generator: Generator, names: Collection[str]) -> None:
    """Check that groups of layers exist.

    Raises:
        ValueError: naming those that do not.

    """
    groups = layer_groups(generator)
    unknown = sorted(set(names) - set(groups))
    if unknown:
        raise ValueError(f"no group of layers is called {', '.join(unknown)}, expected some of {', '.join(groups)}")


def in_precision(generator: Generator, dtype: torch.dtype, keep_fp32: Collection[str] = ()) -> Generator:
    """Return a copy of a generator that computes in `dtype`, except the groups of layers that are to stay in FP32.

    The last convolution stays in FP32 as well.

    Args:
        generator: the voice's generator, FP32; it is left alone.
        dtype: type of the weights and activations.
        keep_fp32: names of groups, see `layer_groups`.

    Raises:
        ValueError: if a name is no group's.

    """
    check_groups(generator, keep_fp32)
    copy = deepcopy(generator)
    groups = layer_groups(copy)
    for name, layers in groups.items():
        for layer in layers:
            layer.to(torch.float32 if name in keep_fp32 else dtype)
    return copy


class WideSums(TorchFunctionMode):
    """Sums up convolutions of FP16 and BF16 tensors in FP32 and rounds the result once.

    That is what tensor cores do, and what a CPU without such arithmetic does many times slower by itself.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one PyTorch function."""
        kwargs = kwargs or {}
        if func not in _CONVOLUTIONS or args[0].dtype == torch.float32:
            return func(*args, **kwargs)
        wide = [arg.float() if isinstance(arg, Tensor) else arg for arg in args]
        return func(*wide, **kwargs).to(args[0].dtype)

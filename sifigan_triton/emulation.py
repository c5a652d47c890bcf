"""Reduced precision as matrix units compute it, on a CPU that has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv1d, conv_transpose1d
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = (conv1d, conv_transpose1d)


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

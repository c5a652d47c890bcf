"""BF16 arithmetic emulated in FP32, for machines without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_PRODUCTS = (torch.conv1d, torch.nn.functional.conv1d, torch.matmul, torch.nn.functional.linear)


class Bf16(TorchFunctionMode):
    """Within this context products compute as in BF16 matrix units: operands in BF16, sums in FP32.

    Products are convolutions and products of matrices. With `everywhere`, the result of every operation is rounded to
    BF16 as well, as PyTorch's bfloat16 does.
    """

    def __init__(self, everywhere: bool = False) -> None:
        """Choose what is rounded."""
        super().__init__()
        self.everywhere = everywhere

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Round the operands of products, or the results of everything."""
        if func in _PRODUCTS:
            x, weight, *rest = args
            args = (_round(x), _round(weight), *rest)
        result = func(*args, **(kwargs or {}))
        return _round(result) if self.everywhere else result


def _round(value: Any) -> Any:
    """Round a float32 tensor to BF16; anything else stays as it is."""
    if isinstance(value, Tensor) and value.dtype == torch.float32:
        return value.to(torch.bfloat16).to(torch.float32)
    return value

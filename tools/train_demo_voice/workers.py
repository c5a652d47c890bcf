"""Several processes that share each step of one training, started by `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed


class Workers:
    """The processes of a training; a single one where `torchrun` did not start it."""

    def __init__(self, device: torch.device) -> None:
        """Find the other processes by what `torchrun` left in the environment."""
        self.rank, self.size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self._device = device
        if self.size > 1:
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over the processes."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any of the processes."""
        if self.size == 1:
            return flag
        flags = torch.tensor(float(flag), device=self._device)
        distributed.all_reduce(flags)
        return bool(flags > 0)

    def close(self) -> None:
        """Leave the others."""
        if self.size > 1:
            distributed.destroy_process_group()

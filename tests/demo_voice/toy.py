"""Toy sizes and a toy voice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from tools.train_demo_voice.plan import Plan

RATE, HOP = 24000, 120
PLAN = Plan(channels=16, steps=4, batch_size=2, frames=12, adversarial_from=0.5, discriminator_channels=2)
CPU = torch.device("cpu")


def tone(seconds: float, f0: float = 180.0, level: float = 0.02, pause: float = 0.1) -> npt.NDArray[np.float64]:
    """Make a buzz with a pause in its middle, in a little noise."""
    time = np.arange(int(seconds * RATE)) / RATE
    buzz = sum(np.cos(2.0 * np.pi * k * f0 * time) / k for k in range(1, 30))
    noise = np.random.default_rng(0).normal(0.0, 0.01, len(time))
    gate = np.abs(time - seconds / 2.0) >= pause / 2.0
    return np.asarray(level * (buzz * gate + noise), np.float64)

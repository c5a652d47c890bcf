"""Toy sizes."""

from __future__ import annotations

import torch

from tools.train_demo_voice.corpus import HOP_SIZE as HOP
from tools.train_demo_voice.corpus import SAMPLE_RATE as RATE
from tools.train_demo_voice.plan import Plan
from tools.train_demo_voice.toy import tone

__all__ = ["CPU", "HOP", "PLAN", "RATE", "tone"]

PLAN = Plan(channels=16, steps=4, batch_size=2, frames=12, adversarial_from=0.5, discriminator_channels=2)
CPU = torch.device("cpu")

"""What a training does, and for how long: the defaults of `train.py` and more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Plan:
    """Sizes, rates and weights of a training."""

    channels: int = 128
    """Of the generator's first layer."""
    steps: int = 10000
    """Steps planned; the learning rate ends here. May change when a training is resumed."""
    batch_size: int = 4
    """Segments of a step, those of all processes."""
    frames: int = 96
    """Frames of a segment."""
    seed: int = 0
    """Of the first weights and of what is drawn."""
    learning_rate: float = 8e-4
    """After the warm-up."""
    last_rate: float = 0.05
    """Learning rate at the end, relative to `learning_rate`."""
    warm_up_steps: int = 100
    adversarial_from: float = 0.5
    """Where the discriminators set in, relative to `steps`."""
    discriminator_channels: int = 8
    """Of the discriminators' first layers."""
    mel_weight: float = 25.0
    """This and the weights below are factors of `losses`, `pulses` and `tones`."""
    envelope_weight: float = 90.0
    log_weight: float = 10.0
    convergence_weight: float = 5.0
    phase_weight: float = 16.0
    residual_weight: float = 5.0
    pulse_weight: float = 30.0
    tone_weight: float = 8.0
    adversarial_weight: float = 8.0
    feature_weight: float = 30.0
    rounding: float = 0.02
    """Noise on what either network up-samples, relative to its size, in the training only."""
    average: float = 0.999
    """Decay of the running mean of the weights, which is what is exported."""
    clip: float = 50.0
    """Largest norm of the generator's gradient, and of its last layer's."""

    def changed(self, settings: Sequence[str]) -> Plan:
        """Return the plan with other values.

        Args:
            settings: `NAME=VALUE`, such as `rounding=0.05`.

        Raises:
            ValueError: naming the setting and what it could be.

        """
        kinds = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        values = {}
        for setting in settings:
            name, _, value = setting.partition("=")
            try:
                values[name] = kinds[name](value)
            except (KeyError, ValueError):
                expected = (
                    f"one of {', '.join(kinds)}" if name not in kinds else f"{name}={getattr(self, name)} or such"
                )
                raise ValueError(f"setting {setting!r}: expected NAME=VALUE with {expected}") from None
        return replace(self, **values)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: a linear warm-up, then half a cosine."""
        progress = min(1.0, step / self.steps)
        cosine = self.last_rate + (1.0 - self.last_rate) * (0.5 + 0.5 * math.cos(math.pi * progress))
        return self.learning_rate * cosine * min(1.0, (step + 1) / self.warm_up_steps)

    def adversarial(self, step: int) -> bool:
        """Return whether the discriminators take part in a step."""
        return step >= self.adversarial_from * self.steps

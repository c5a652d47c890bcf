"""What the engines of one voice are made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from preprocess import Settings, Voice
from sifigan_triton.network.crop_plan import CropPlan, crop_plan
from sifigan_triton.network.generator import Generator


@dataclass(frozen=True, eq=False)
class EngineSpec:
    """One voice and the shape of its static engines."""

    voice: Voice
    generator: Generator
    """The full-length generator with the voice's weights, FP32."""
    window: int = 512
    """Frames that a window yields."""
    f0_floor: float = 70.0
    """Lowest F0 in Hz that static engines treat exactly."""
    max_batch_size: int = 128
    """Windows in one call."""

    @cached_property
    def plan(self) -> CropPlan:
        """What every stage of the narrowing engine has to see.

        Raises:
            ValueError: if the window or the floor is out of range.

        """
        return crop_plan(self.voice, self.window, self.f0_floor)

    @cached_property
    def settings(self) -> Settings:
        """What `preprocess` has to know of these engines; raises as `plan` does."""
        return Settings(self.voice, self.window, self.plan.halo, self.f0_floor, self.max_batch_size)

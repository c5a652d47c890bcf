"""What `preprocess` has to know: the voice's constants and the shape of the engine's window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .voice import Voice


@dataclass(frozen=True)
class Settings:
    """Constants of one deployed voice and engine."""

    voice: Voice
    window: int
    """Frames that a window yields."""
    halo: int
    """Frames that the engine sees beyond the window, at each side."""
    f0_floor: float
    """Lowest F0 in Hz that the engine promises."""
    max_batch_size: int
    """Windows that the engine takes in one call."""
    dynamic: bool = False
    """Whether the engine takes the whole utterance as one window; then the other numbers only say what is accepted."""

    @property
    def input_frames(self) -> int:
        """Frames that the engine sees: window + 2 * halo."""
        return self.window + 2 * self.halo

    @property
    def longest_frames(self) -> int:
        """Frames of the longest utterance."""
        return self.window * self.max_batch_size

    def seconds(self, frames: int) -> float:
        """Return the duration of `frames`."""
        return frames * self.voice.hop_size / self.voice.sample_rate

    @classmethod
    def from_parameters(cls, voice: Voice, parameters: Mapping[str, str]) -> Settings:
        """Read the parameters of a model's `config.pbtxt`."""
        return cls(
            voice=voice,
            window=int(parameters["window"]),
            halo=int(parameters["halo"]),
            f0_floor=float(parameters["f0_floor"]),
            max_batch_size=int(parameters["max_batch_size"]),
            dynamic=parameters["dynamic"] == "true",
        )

"""What `preprocess` has to know: the voice's constants and the shape of the engine's window."""

from __future__ import annotations

from dataclasses import dataclass

from preprocess.voice import Voice


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

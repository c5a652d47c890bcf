"""Tones at multiples of the frame rate: what up-sampling leaves of features that hardly change."""

from __future__ import annotations

import torch
from torch import Tensor, nn

GROUP_FRAMES = 24
"""Frames over which a tone is added up."""

FLOOR = 1e-10
"""Added to powers relative to full scale."""


class ToneLoss(nn.Module):
    """Find errors that repeat from frame to frame.

    Transposed convolutions make something periodic of constant features: tones at multiples of the frame rate, which
    spectra of a few frames hardly tell from noise. Added up over many frames, phases included, noise cancels and
    tones stay. They are measured as an error, since the target may have harmonics at the same frequencies.
    """

    def __init__(self, hop_size: int) -> None:
        """Make the window, which spans four frames."""
        super().__init__()
        self.hop_size = hop_size
        self.register_buffer("window", torch.hann_window(4 * hop_size))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compare two (B, L) waveforms.

        Returns:
            Mean of log(1 + power of the summed error, relative to the summed powers of both): 0 for equal waveforms,
            1.1 for noises that have nothing in common, log(1 + GROUP_FRAMES) for a tone in one of them only and
            log(1 + 2 GROUP_FRAMES) for opposite tones. Noise in either lowers it, which the spectral distances forbid.

        """
        window = getattr(self, "window")  # noqa: B009 (a buffer: its type is unknown to mypy)
        made, real = (self._groups(waveform, window) for waveform in (output, target))
        power = (made.abs() ** 2 + real.abs() ** 2).sum(-1) + FLOOR * float((window**2).sum())
        return torch.log1p((made - real).sum(-1).abs() ** 2 / power).mean()

    def _groups(self, waveform: Tensor, window: Tensor) -> Tensor:
        """Return the spectra at multiples of the frame rate, (B, F, groups, frames of a group)."""
        spectra = torch.stft(waveform, len(window), self.hop_size, window=window, return_complex=True)
        frames = waveform.shape[-1] // self.hop_size
        group = min(GROUP_FRAMES, frames)
        kept = spectra[:, 4:-1:4, : frames // group * group]
        return kept.reshape(*kept.shape[:2], -1, group)

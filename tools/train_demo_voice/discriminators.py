"""Small discriminators: of the waveform folded at several periods, and of its spectrum at several resolutions.

The designs are those of HiFi-GAN (arXiv 2010.05646, periods) and UnivNet (arXiv 2106.07889, resolutions), with the
numbers of channels as a parameter so that they fit a CPU.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad
from torch.nn.utils.parametrizations import weight_norm

from tools.train_demo_voice.losses import power_spectrum

PERIODS = (2, 3, 5, 7, 11)
RESOLUTIONS = ((512, 128), (1024, 240), (2048, 480))
"""(FFT size, hop)"""

POWER_FLOOR = 1e-5
"""Added to powers before the logarithm: some 75 dB below speech of -23 dB."""

SLOPE = 0.1


def _layers(widths: list[int], kernel: tuple[int, int], stride: tuple[int, int]) -> nn.ModuleList:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return nn.ModuleList(weight_norm(nn.Conv2d(a, b, kernel, stride, padding)) for a, b in pairwise(widths))


class _Discriminator(nn.Module):
    """A stack of 2-D convolutions and a scoring layer."""

    def __init__(self, widths: list[int], kernel: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.layers = _layers(widths, kernel, stride)
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def view(self, waveform: Tensor) -> Tensor:
        """Turn (B, L) into the (B, 1, H, W) that is judged."""
        raise NotImplementedError

    def forward(self, waveform: Tensor) -> tuple[Tensor, list[Tensor]]:
        hidden, layers = self.view(waveform), []
        for layer in self.layers:
            hidden = leaky_relu(layer(hidden), SLOPE)
            layers.append(hidden)
        return self.score(hidden), layers


class PeriodDiscriminator(_Discriminator):
    """Judges every p-th sample side by side."""

    def __init__(self, period: int, channels: int) -> None:
        """Create the layers."""
        super().__init__([1, channels, 2 * channels, 4 * channels, 4 * channels], (5, 1), (3, 1))
        self.period = period

    def view(self, waveform: Tensor) -> Tensor:
        """Fold (B, L) into (B, 1, ceil(L / p), p)."""
        short = -waveform.shape[1] % self.period
        padded = pad(waveform[:, None], (0, short), mode="reflect")
        return padded.reshape(len(waveform), 1, -1, self.period)


class SpectrumDiscriminator(_Discriminator):
    """Judges the log spectrum at one resolution."""

    def __init__(self, fft_size: int, hop: int, channels: int) -> None:
        """Create the layers."""
        super().__init__([1, channels, 2 * channels, 2 * channels, 2 * channels], (7, 3), (2, 1))
        self.fft_size, self.hop = fft_size, hop
        self.register_buffer("window", torch.hann_window(fft_size))

    def view(self, waveform: Tensor) -> Tensor:
        """Turn (B, L) into (B, 1, F, T)."""
        window = getattr(self, "window")  # noqa: B009 (a buffer: its type is unknown to mypy)
        power = power_spectrum(waveform, self.fft_size, self.hop, window)
        return 0.5 * torch.log(power + POWER_FLOOR).transpose(1, 2)[:, None]


class Discriminators(nn.Module):
    """All of them."""

    def __init__(self, channels: int) -> None:
        """Create them; `channels` is the width of each one's first layer."""
        super().__init__()
        self.all = nn.ModuleList(
            [PeriodDiscriminator(period, channels) for period in PERIODS]
            + [SpectrumDiscriminator(fft_size, hop, channels) for fft_size, hop in RESOLUTIONS]
        )

    def forward(self, waveform: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Judge (B, L) waveforms: a map of scores and the hidden layers of each discriminator."""
        judged = [one(waveform) for one in self.all]
        return [scores for scores, _ in judged], [layers for _, layers in judged]

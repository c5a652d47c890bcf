"""What the generator is asked to match: spectra of the waveform, and a flat residual out of the source network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, l1_loss, mse_loss

from sifigan_triton.features.melcepstrum import mc2sp
from tools.train_demo_voice.targets import FEATURE_DELAY_FRAMES

RESOLUTIONS = ((64, 32, 10), (128, 64, 20), (256, 64, 20), (512, 128, 40), (1024, 256, 80), (2048, 512, 160))
"""(FFT size, hop, mel bands) of the mel distance; windows as long as the FFT."""

HARMONICS_FROM = 512
"""Smallest FFT size at which bins are compared one by one: smaller ones do not tell harmonics apart."""

ENVELOPES = ((512, 24, 8), (1024, 40, 4), (2048, 160, 8))
"""(FFT size, mel bands, frames averaged) of the envelope distance: in bands that are wide, or long, noise averages out.

The last one has the mel distance's narrow bands, averaged over eight frames: without it, noise below 500 Hz came out as
if through a comb, which is heard as a pitch.
"""

PHASE_SIZES = (512, 1024)
"""FFT sizes at which phases are compared."""

POWER_FLOOR = 1e-10
"""Added to powers relative to full scale before the logarithm: so little that pauses and empty bands count as well."""

RESIDUAL_FLOOR = 1e-3
"""The same for residual spectra, which are flat and near 1."""


def mel_filters(fft_size: int, bands: int, sample_rate: int) -> Tensor:
    """Make triangular filters of equal area on the mel scale, float32 (fft_size / 2 + 1, bands)."""
    top = 2595.0 * np.log10(1.0 + sample_rate / 2.0 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, bands + 2) / 2595.0) - 1.0)
    bins = np.linspace(0.0, sample_rate / 2.0, fft_size // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    return torch.from_numpy((filters / np.maximum(filters.sum(axis=0), 1e-9)).astype(np.float32))


def power_spectrum(waveform: Tensor, fft_size: int, hop: int, window: Tensor) -> Tensor:
    """Return (B, L // hop + 1, fft_size / 2 + 1) powers of a (B, L) waveform."""
    spectrum = torch.stft(waveform, fft_size, hop, window=window, return_complex=True)
    return (spectrum.real**2 + spectrum.imag**2).transpose(1, 2)


def log_distance(power: Tensor, reference: Tensor, floor: float) -> Tensor:
    """Return the mean distance between two power spectra in nepers, `floor` added to both."""
    return 0.5 * l1_loss(torch.log(power + floor), torch.log(reference + floor))


def convergence(power: Tensor, reference: Tensor, floor: float) -> Tensor:
    """Return |S' - S| / |S| of magnitudes (B, T, F), Frobenius norms of each utterance, averaged."""
    made, real = torch.sqrt(power + floor), torch.sqrt(reference + floor)
    norms = [torch.linalg.vector_norm(values, dim=(1, 2)) for values in (made - real, real)]
    distance: Tensor = (norms[0] / norms[1]).mean()
    return distance


class SpectralLoss(nn.Module):
    """Four distances between spectra.

    - Mel: L1 between log mel spectra at six resolutions, 3 to 85 ms (as in R. Kumar et al., arXiv 2306.06546).
    - Envelope: L1 between log mel powers averaged over 43 to 171 ms. Of noise, and of harmonics whose phases are free,
      a periodogram is a draw: most of its L1 distance is that of two draws and tells the generator nothing. Averages
      show formants and levels.
    - Log: L1 between log spectra, bin by bin. High mel bands are wider than the harmonics are apart; bins are not.
    - Spectral convergence (R. Yamamoto et al., arXiv 1910.11480): hears the loud bins: the lower harmonics.
    """

    def __init__(self, sample_rate: int) -> None:
        """Make windows and filters."""
        super().__init__()
        for fft_size, _, bands in RESOLUTIONS:
            self.register_buffer(f"window{fft_size}", torch.hann_window(fft_size))
            self.register_buffer(f"mel{fft_size}", mel_filters(fft_size, bands, sample_rate))
        for fft_size, bands, _ in ENVELOPES:
            self.register_buffer(f"envelope{fft_size}", mel_filters(fft_size, bands, sample_rate))

    def forward(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compare two (B, L) waveforms.

        Returns:
            `mel`, `envelope` and `log` in nepers, and `convergence`, the relative distance of the magnitudes; each the
            mean over its resolutions.

        """
        distances: dict[str, list[Tensor]] = {"mel": [], "envelope": [], "log": [], "convergence": []}
        averaged = {fft_size: frames for fft_size, _, frames in ENVELOPES}
        for fft_size, hop, _ in RESOLUTIONS:
            window, mel = getattr(self, f"window{fft_size}"), getattr(self, f"mel{fft_size}")
            energy = float((window**2).sum())
            made, real = (power_spectrum(waveform, fft_size, hop, window) / energy for waveform in (output, target))
            distances["mel"].append(log_distance(made @ mel, real @ mel, POWER_FLOOR))
            if fft_size >= HARMONICS_FROM:
                distances["log"].append(log_distance(made, real, POWER_FLOOR))
                distances["convergence"].append(convergence(made, real, POWER_FLOOR))
            if frames := averaged.get(fft_size):
                bands = getattr(self, f"envelope{fft_size}")
                length = min(frames, made.shape[1])
                means = [avg_pool1d((power @ bands).transpose(1, 2), length, 2) for power in (made, real)]
                distances["envelope"].append(log_distance(means[0], means[1], POWER_FLOOR))
        return {name: torch.stack(some).mean() for name, some in distances.items()}


class PhaseLoss(nn.Module):
    """Distance of compressed complex spectra, relative to their size: 0 for equal waveforms, above 1 for others.

    Magnitudes to the power of 0.3 (as in H. Erdogan, T. Yoshioka, Interspeech 2018), so that faint bands count.
    """

    def __init__(self) -> None:
        """Make the windows."""
        super().__init__()
        for fft_size in PHASE_SIZES:
            self.register_buffer(f"window{fft_size}", torch.hann_window(fft_size))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compare two (B, L) waveforms."""
        terms = []
        for fft_size in PHASE_SIZES:
            window = getattr(self, f"window{fft_size}")
            spectra = [
                torch.view_as_real(torch.stft(w, fft_size, fft_size // 4, window=window, return_complex=True))
                for w in (output, target)
            ]
            powers = [(s**2).sum(-1, keepdim=True) / (window**2).sum() + POWER_FLOOR for s in spectra]
            made, real = (s * p**-0.35 for s, p in zip(spectra, powers, strict=True))
            terms.append((made - real).abs().mean() / real.abs().mean())
        return torch.stack(terms).mean()


class ResidualLoss(nn.Module):
    """Ask the source network for an excitation with a flat envelope.

    SiFi-GAN (arXiv 2210.15533) regularises its source network towards the residual of the recording: its spectrum
    divided by the spectral envelope. Here the envelope is that of the mel-cepstrum, and a 1x1 convolution reads one
    channel out of the source network; only the training has it.
    """

    def __init__(self, channels: int, hop_size: int, alpha: float, order: int) -> None:
        """Make the read-out and the constant matrices."""
        super().__init__()
        self.fft_size, self.hop_size = 1024, hop_size
        self.readout = nn.Conv1d(channels, 1, 1)
        envelope = np.log(mc2sp(np.eye(order + 1), alpha, self.fft_size))  # log power is linear in the mel-cepstrum
        self.register_buffer("window", torch.hann_window(self.fft_size))
        self.register_buffer("envelope", torch.from_numpy(envelope.astype(np.float32)))

    def forward(self, source: Tensor, target: Tensor, mcep: Tensor) -> Tensor:
        """Compare the read-out's spectrum with that of the residual.

        Args:
            source: (B, channels, L), output of the source network.
            target: (B, L), the recording.
            mcep: (B, T, order + 1), its mel-cepstrum.

        """
        window = getattr(self, "window")  # noqa: B009 (a buffer: its type is unknown to mypy)
        envelope = getattr(self, "envelope")  # noqa: B009
        frames = mcep.shape[1] - FEATURE_DELAY_FRAMES
        log_envelope = mcep[:, FEATURE_DELAY_FRAMES:] @ envelope  # (B, T - 1, F)
        energy = float((window**2).sum())

        def spectrum(waveform: Tensor) -> Tensor:
            return power_spectrum(waveform, self.fft_size, self.hop_size, window)[:, :frames] / energy

        residual = spectrum(target) * torch.exp(-log_envelope.clamp(min=-30.0))
        made = spectrum(self.readout(source)[:, 0])
        return log_distance(made, residual, RESIDUAL_FLOOR)


def discriminator_loss(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Least squares: 1 for recordings, 0 for what was made (mean over the discriminators)."""
    losses = [
        mse_loss(r, torch.ones_like(r)) + mse_loss(f, torch.zeros_like(f)) for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def adversarial_loss(fake: list[Tensor]) -> Tensor:
    """Least squares: what was made should score 1 (mean over the discriminators)."""
    return torch.stack([mse_loss(f, torch.ones_like(f)) for f in fake]).mean()


def feature_loss(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    """L1 between the discriminators' hidden layers, each relative to its mean size, averaged."""
    terms = [
        l1_loss(f, r.detach()) / (r.detach().abs().mean() + 1e-3)
        for real_one, fake_one in zip(real, fake, strict=True)
        for r, f in zip(real_one, fake_one, strict=True)
    ]
    return torch.stack(terms).mean()

"""Harmonics in phase with the excitation: a target that is the same at every draw, which spectra are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from preprocess import Voice
from preprocess.excitation import make_excitation

HIGHEST_HARMONIC_HZ = 11000.0

FloatArray = npt.NDArray[np.float32]


def pulse_train(f0: FloatArray, cf0: FloatArray, voice: Voice) -> FloatArray:
    """Make pulses where the phase of the excitation's sine is 0: all harmonics below 11 kHz, equally strong.

    Args:
        f0: (T,) in Hz, 0 where unvoiced: there are no pulses.
        cf0: (T,) in Hz, the continuous F0 that the excitation is made of.
        voice: the voice's constants.

    Returns:
        float32 (T * hop_size,), of power 1 where voiced.

    """
    hop = voice.hop_size
    step = cf0.astype(np.float64) / voice.sample_rate  # cycles a sample
    start = np.concatenate(([0.0], np.cumsum(step[:-1] * hop) % 1.0))
    phase = start[:, None] + step[:, None] * np.arange(1, hop + 1)  # as `preprocess.excitation` has it
    half = np.pi * (phase - np.rint(phase))
    half = np.where(np.abs(half) < 1e-9, 1e-9, half)
    count = np.floor(HIGHEST_HARMONIC_HZ / np.maximum(cf0, 1.0))[:, None].astype(np.float64)
    pulses = (np.sin((2.0 * count + 1.0) * half) / np.sin(half) - 1.0) / np.sqrt(2.0 * count)  # a sum of cosines
    return np.asarray((pulses * (f0 > 0.0)[:, None]).reshape(-1), np.float32)


def excitation_noise(cf0: FloatArray, excitation: FloatArray, voice: Voice) -> FloatArray:
    """Return the noise in an excitation at power 1, float32 (T * hop_size,): what is left without the sine of `cf0`."""
    sine = make_excitation(cf0.astype(np.float64), 0, replace(voice, noise_amp=0.0))
    amplitude = voice.noise_amp if cf0.any() else voice.noise_amp / 3.0  # as `make_excitation` has it
    return (excitation - sine) / np.float32(amplitude)


class PulseLoss(nn.Module):
    """Ask the source network for the harmonics of a pulse train, and for the noise that goes with them.

    A spectrogram knows no phase, so that a loss on it says little about where harmonics should come from. But the
    generator knows the phase of the excitation's sine, and any phase will do: a pulse train in that phase is one
    waveform with all harmonics, the same at every draw, and is learnt fast. So is the noise, which the generator is
    given at a thirtieth of the sine. The filter network shapes both.
    """

    def __init__(self, channels: int) -> None:
        """Make the read-out of the source network, which is not exported."""
        super().__init__()
        self.readout = nn.Conv1d(channels, 1, 1)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Compare with the pulses.

        Args:
            source: (B, channels, L), output of the source network.
            target: (B, L), `Targets.source`.

        Returns:
            Squared error relative to the power of the target: 1 for silence.

        """
        error: Tensor = ((self.readout(source)[:, 0] - target) ** 2).sum() / ((target**2).sum() + 1.0)
        return error

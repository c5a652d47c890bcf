"""The excitation: a sine at the continuous F0 and seeded noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .noise import noise_of
from .voice import Voice

BLOCK = 128
"""Frames that are made at once: all between the FP64 phase and the excitation then stays in the processor's cache."""


def make_excitation(cf0: npt.NDArray[np.float64], seed: int, voice: Voice) -> npt.NDArray[np.float32]:
    """Make the excitation of a whole utterance, as the public code does for `sine_f0_type: cf0`.

    The phase is accumulated in FP64 over the utterance, one step of `cf0 / sample_rate` cycles a sample, and reduced to
    a cycle before the sine is taken in FP32. The noise is drawn sample by sample from the start of the utterance, so
    that neither the windows nor the length change it. An utterance without any voiced frame has no sine, and a third
    of the noise.

    Args:
        cf0: float64 (T,), continuous F0 in Hz, `f0_factor` applied: above 0 in every frame, or 0 in every frame.
        seed: seed of the noise.
        voice: the voice's constants.

    Returns:
        float32 (T * hop_size,).

    """
    hop = voice.hop_size
    step = cf0 / voice.sample_rate  # cycles a sample
    start: npt.NDArray[np.float64] = np.concatenate(([0.0], np.cumsum(step[:-1] * hop) % 1.0))
    voiced = bool(cf0.any())
    noise_amp = np.float32(voice.noise_amp if voiced else voice.noise_amp / 3.0)
    noise = noise_of(seed).first(cf0.size * hop).reshape(-1, hop)
    excitation = np.empty_like(noise)
    for first in range(0, cf0.size, BLOCK):
        frames = slice(first, first + BLOCK)
        np.multiply(noise[frames], noise_amp, out=excitation[frames])
        if voiced:
            excitation[frames] += _sine(start[frames], step[frames], voice)
    return excitation.reshape(-1)


def _sine(start: npt.NDArray[np.float64], step: npt.NDArray[np.float64], voice: Voice) -> npt.NDArray[np.float32]:
    """Return the sine, float32 (T, hop_size), of frames that begin at `start` cycles and rise by `step` a sample."""
    phase = np.multiply.outer(step, np.arange(1, voice.hop_size + 1))
    phase += start[:, None]
    phase -= np.rint(phase)
    sine = phase.astype(np.float32)
    sine *= np.float32(2.0 * np.pi)
    np.sin(sine, out=sine)
    sine *= np.float32(voice.sine_amp)
    return sine

"""The excitation: a sine at the continuous F0 and seeded noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .noise import NOISE
from .voice import Voice

BLOCK = 128
"""Frames that are made at once: all between the FP64 phase and the excitation then stays in the processor's cache."""
CYCLE = 2**53
"""Ticks of a cycle. Phases are summed as whole ticks: unlike floating-point sums, these are the same from wherever they
begin, and FP64 holds each of them as a fraction of a cycle."""


def frame_phases(cf0: npt.NDArray[np.float64], sample_rate: int, hop_size: int) -> npt.NDArray[np.int64]:
    """Return how far the sine has come at the beginning of each frame, and behind the last one.

    Args:
        cf0: float64 (T,), continuous F0 in Hz, `f0_factor` applied.
        sample_rate: the voice's, in Hz.
        hop_size: the voice's samples a frame.

    Returns:
        int64 (T + 1,), in ticks from 0 to below `CYCLE`; the first is 0.

    """
    steps = np.rint(cf0 / sample_rate * hop_size % 1.0 * CYCLE).astype(np.int64)
    phases = np.zeros(cf0.size + 1, np.int64)
    np.cumsum(steps, out=phases[1:])  # what overflows wraps around, by whole cycles
    return phases % CYCLE


def make_excitation(
    cf0: npt.NDArray[np.float64], seed: int, voice: Voice, start: int = 0, phase: int = 0
) -> npt.NDArray[np.float32]:
    """Make the excitation of an utterance, or of some of its frames, as the public code does for `sine_f0_type: cf0`.

    The phase is accumulated over the utterance, one step of `cf0 / sample_rate` cycles a sample, and reduced to a cycle
    before the sine is taken in FP32. Sine and noise of a sample depend on its position only: the excitation of some
    frames is bitwise that of the whole utterance. One without any voiced frame has no sine, and a third of the noise.

    Args:
        cf0: float64 (T,), continuous F0 in Hz, `f0_factor` applied: above 0 in every frame, or 0 in every frame.
        seed: seed of the noise.
        voice: the voice's constants.
        start: place of the first of these frames in the utterance.
        phase: the sine's phase at its beginning, in ticks.

    Returns:
        float32 (T * hop_size,).

    """
    hop = voice.hop_size
    step = cf0 / voice.sample_rate  # cycles a sample
    begin = (frame_phases(cf0, voice.sample_rate, hop)[:-1] + phase) % CYCLE / CYCLE
    voiced = bool(cf0.any())
    noise_amp = np.float32(voice.noise_amp if voiced else voice.noise_amp / 3.0)
    excitation = np.empty((cf0.size, hop), np.float32)
    for first in range(0, cf0.size, BLOCK):
        frames = excitation[first : first + BLOCK]
        NOISE.read(seed, (start + first) * hop, frames.reshape(-1))  # a view
        frames *= noise_amp
        if voiced:
            frames += _sine(begin[first : first + BLOCK], step[first : first + BLOCK], voice)
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

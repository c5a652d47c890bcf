"""The excitation: a sine at the continuous F0 and seeded noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from preprocess.voice import Voice


def make_excitation(cf0: npt.NDArray[np.float64], seed: int, voice: Voice) -> npt.NDArray[np.float32]:
    """Make the excitation of a whole utterance, as the public code does for `sine_f0_type: cf0`.

    The phase is accumulated in FP64 over the utterance, one step of `cf0 / sample_rate` cycles a sample, and reduced to
    a cycle before the sine is taken in FP32. The noise is drawn sample by sample from the start of the utterance, so
    that neither the windows nor the length change it. Where the F0 is 0 (an utterance without any voiced frame) there
    is no sine, and a third of the noise.

    Args:
        cf0: float64 (T,), continuous F0 in Hz, `f0_factor` applied.
        seed: seed of the noise.
        voice: the voice's constants.

    Returns:
        float32 (T * hop_size,).

    """
    hop = voice.hop_size
    step = cf0 / voice.sample_rate  # cycles a sample
    start: npt.NDArray[np.float64] = np.concatenate(([0.0], np.cumsum(step[:-1] * hop) % 1.0))
    phase = start[:, None] + step[:, None] * np.arange(1, hop + 1)  # (T, hop), cycles
    phase -= np.rint(phase)
    sine = np.sin(phase.astype(np.float32) * np.float32(2.0 * np.pi))
    noise = np.random.default_rng(seed).standard_normal(sine.shape, np.float32)
    voiced = cf0 > 0.0
    noise_amp = np.where(voiced, voice.noise_amp, voice.noise_amp / 3.0).astype(np.float32)
    sine *= np.where(voiced, voice.sine_amp, 0.0).astype(np.float32)[:, None]
    noise *= noise_amp[:, None]
    sine += noise
    excitation: npt.NDArray[np.float32] = sine.reshape(-1)
    return excitation

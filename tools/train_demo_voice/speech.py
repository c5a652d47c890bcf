"""Speech from hibari-tts (Apache-2.0), with its predicted F0 replaced.

hibari predicts an F0 contour and, apart from it, the spectra that filter a pulse train and noise. A moved contour
therefore gives the same formants at another pitch, without a second analysis and synthesis.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from hibari import Hibari, dsp

FloatArray = npt.NDArray[np.float64]

CONTOUR_RATE = 80.0
"""Frames a second of hibari's F0 contour."""

VOICED_HZ = 40.0
"""hibari's own threshold: where its contour lies below, it makes no pulses."""


class Speaker:
    """The voice "heart" of hibari-tts, which is part of its package."""

    sample_rate = 24000

    def __init__(self) -> None:
        """Load the network, on one thread."""
        self._tts = Hibari(threads=1)

    def speak(
        self, text: str, seed: int, speed: float = 1.0, contour: Callable[[FloatArray], FloatArray] | None = None
    ) -> FloatArray:
        """Speak a sentence.

        Args:
            text: one sentence.
            seed: seed of the noise.
            speed: factor on the pace.
            contour: turns the predicted F0 (T,) at `CONTOUR_RATE`, in Hz and 0 where unvoiced, into another; None
                keeps the voice's own.

        Returns:
            float64 (L,) at 24 kHz, full scale 1.

        """
        random = np.random.default_rng(seed)
        parts = [self._phrase(phonemes, random, speed, contour) for phonemes in self._tts.phonemize(text)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _phrase(
        self,
        phonemes: str,
        random: np.random.Generator,
        speed: float,
        contour: Callable[[FloatArray], FloatArray] | None,
    ) -> FloatArray:
        ids = np.asarray([self._tts.ids(phonemes)], np.int64)
        outputs = self._tts.sess.run(None, {"ids": ids, "speed": np.asarray([speed], np.float32)})
        harmonic, phase, noise, residual, residual_phase, f0 = (output[0] for output in outputs)
        if contour is not None:
            voiced = f0 > VOICED_HZ
            f0 = contour(np.where(voiced, f0, 0.0).astype(np.float64)).astype(np.float32)
            residual = residual - 20.0 * voiced  # log magnitude; what it holds of voiced sound has the old pitch
        waveform = dsp.synth(harmonic, phase, noise, residual, residual_phase, f0, random)
        return np.asarray(waveform, np.float64)

"""The noise of the excitation."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

import numpy as np
import numpy.typing as npt


class Noise:
    """Standard normal noise of one seed: a sample depends on the seed and its position only, and is drawn once."""

    def __init__(self, seed: int) -> None:
        """Draw nothing yet."""
        self._generator = np.random.default_rng(seed)
        self._drawn = np.empty(0, np.float32)
        self._lock = Lock()

    def first(self, samples: int) -> npt.NDArray[np.float32]:
        """Return the first samples, float32 (samples,), read-only; only what was never asked for is drawn."""
        with self._lock:
            before = self._drawn
            if samples > before.size:
                self._drawn = np.empty(samples, np.float32)
                self._drawn[: before.size] = before
                self._generator.standard_normal(dtype=np.float32, out=self._drawn[before.size :])
                self._drawn.flags.writeable = False
            return self._drawn[:samples]


@lru_cache(maxsize=1)
def noise_of(seed: int) -> Noise:
    """Return the noise of a seed.

    That of the latest seed is kept (4 bytes a sample of the longest utterance): most requests leave the seed at its
    default, and drawing the noise costs as much as the rest of `preprocess`.
    """
    return Noise(seed)

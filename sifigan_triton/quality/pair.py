"""Two waveforms of one utterance, and what keeps them from being compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sifigan_triton.quality.waveform import min_samples

SAMPLE_RATE = 24000
"""Rate of all waveforms compared, in Hz; the mel-cepstrum's all-pass constant and the STFT's windows belong to it."""

HOP_SIZE = 120
"""Samples a frame: 5 ms."""

Mode = Literal["parity", "recording"]


class QualityError(ValueError):
    """Waveforms cannot be compared, a bound is not understood, or bounds are broken."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two waveforms of one utterance."""

    name: str
    f0: NDArray[np.floating[Any]] | None
    """(T,), the F0 that was asked for in Hz, 0 = unvoiced, a value for each 120 samples; None if unknown."""
    reference: NDArray[np.floating[Any]]
    """(L,), 24 kHz, full scale = 1."""
    test: NDArray[np.floating[Any]]
    """(L,), 24 kHz, full scale = 1; in recording mode any length, of which the common part is compared."""

    def check(self, mode: Mode) -> None:
        """Check that the pair can be compared.

        Raises:
            QualityError: naming the pair, what was expected and what was got.

        """
        for role, waveform in (("reference", self.reference), ("test", self.test)):
            if waveform.ndim != 1 or len(waveform) < min_samples():
                raise QualityError(
                    f"{self.name}: {role} waveform has shape {waveform.shape}, expected one channel of at least "
                    f"{min_samples():,} samples ({1000.0 * min_samples() / SAMPLE_RATE:.0f} ms)"
                )
        bad = np.flatnonzero(~np.isfinite(self.reference))
        if bad.size:
            raise QualityError(
                f"{self.name}: reference holds {bad.size} samples that are NaN or infinite, the first is "
                f"sample {bad[0]}"
            )
        if not self.reference.any():
            raise QualityError(f"{self.name}: reference is silent, expected a signal to compare with")
        if mode == "parity" and len(self.test) != len(self.reference):
            raise QualityError(
                f"{self.name}: test has {len(self.test):,} samples, expected {len(self.reference):,} as the reference "
                "has: parity compares sample by sample; for a recording against a vocoder use --mode recording"
            )
        if self.f0 is not None and len(self.f0) * HOP_SIZE != len(self.reference):
            raise QualityError(
                f"{self.name}: f0 has {len(self.f0):,} frames, expected {len(self.reference) / HOP_SIZE:,.1f}, one for "
                f"each {HOP_SIZE} samples of the reference"
            )

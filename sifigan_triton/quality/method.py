"""How two waveforms are compared."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.voice import AnalysisSettings
from sifigan_triton.quality import envelope, pitch
from sifigan_triton.quality.pair import HOP_SIZE, SAMPLE_RATE, Mode, QualityError

SECOND_OPINION = 0.001
"""Share of frames whose voicing differs, above which a second estimator has to agree."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """How pairs are compared."""

    mode: Mode = "parity"
    """parity: two runs of one model on one excitation, equal sample by sample but for rounding. recording: a recording
    against a vocoder, where phases differ and a waveform's SNR means nothing."""
    analysis: AnalysisSettings = field(default_factory=AnalysisSettings)
    """F0 range, high-pass filter and mel-cepstrum."""
    range_db: float = envelope.AUDIBLE_RANGE_DB
    """What lies further below the strongest frequency of a frame is not compared by `mcd` and `envelope`."""

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            QualityError: if it is not positive.

        """
        if not self.range_db > 0.0:
            raise QualityError(f"range_db is {self.range_db:g}, expected a positive number of dB, or inf")

    def f0(self, waveform: Array, asked: NDArray[np.floating[Any]] | None = None) -> Array:
        """Estimate F0 in Hz: with DIO in parity mode, with Harvest between a recording and a vocoder.

        Args:
            waveform: float64 (L,), finite.
            asked: F0 asked for in Hz, which widens the range where it lies outside.

        Returns:
            float64 (L // 120 + 1,), Hz, 0 = unvoiced.

        """
        estimate = pitch.dio if self.mode == "parity" else pitch.harvest
        return estimate(waveform, SAMPLE_RATE, HOP_SIZE, self._settings(asked))

    def pitch_errors(
        self, waveforms: tuple[Array, Array], contours: tuple[Array, Array], asked: NDArray[np.floating[Any]] | None
    ) -> pitch.PitchErrors:
        """Compare two contours; in parity mode a change of voicing counts where DIO and Harvest both see it.

        At the edge of its decision either estimator flips whole stretches of a contour for no audible reason, but not
        the same ones. Harvest costs ten times as much, so it is asked only if DIO sees more than `SECOND_OPINION`. Nor
        is F0 compared where none was asked for: in noise an estimator finds any.

        Args:
            waveforms: reference and test, float64 (L,), finite.
            contours: F0 of both, float64 (L // 120 + 1,) in Hz, 0 = unvoiced, as `f0` estimates it.
            asked: F0 asked for, (T,) in Hz, 0 = unvoiced, if known.

        """
        pitched = asked > 0.0 if self.mode == "parity" and asked is not None else None
        errors = pitch.PitchErrors.of(*contours, pitched=pitched)
        if self.mode == "recording" or errors.voicing_errors <= SECOND_OPINION * errors.frames:
            return errors
        own, other = (pitch.harvest(w, SAMPLE_RATE, HOP_SIZE, self._settings(asked)) > 0.0 for w in waveforms)
        return pitch.PitchErrors.of(*contours, confirmed=own != other, pitched=pitched)

    def _settings(self, asked: NDArray[np.floating[Any]] | None) -> AnalysisSettings:
        """Return the analysis settings, their F0 range widened to hold what was asked for."""
        settings = self.analysis
        if asked is not None and (asked > 0.0).any():
            low, high = 0.8 * float(asked[asked > 0.0].min()), 1.25 * float(asked.max())
            settings = replace(
                settings, f0_floor=min(settings.f0_floor, low), f0_ceiling=max(settings.f0_ceiling, high)
            )
        return settings

"""The error of a comparison that cannot be made or that broke its bounds."""

from __future__ import annotations


class QualityError(ValueError):
    """Waveforms cannot be compared, a bound is not understood, or bounds are broken."""

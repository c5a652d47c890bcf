"""All metrics of one pair of waveforms."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sifigan_triton.quality import envelope, level, pitch, stft
from sifigan_triton.quality.method import HOP_SIZE, SAMPLE_RATE, Array, Method
from sifigan_triton.quality.metric import METRICS
from sifigan_triton.quality.pair import Pair
from sifigan_triton.quality.snr import snr_db
from sifigan_triton.quality.visqol import MIN_SECONDS, visqol

Values = dict[str, float | None]


@dataclass(frozen=True)
class Scores:
    """What was measured on one pair."""

    name: str
    seconds: float
    """Duration compared."""
    left_out_seconds: float
    """Duration of what the longer waveform has beyond it."""
    values: Values
    """Value by the metric's name; None where it was not measured or is not defined."""
    errors: pitch.PitchErrors = field(default_factory=pitch.PitchErrors)
    non_finite: int = 0
    """Samples of the test waveform that are NaN or infinite."""
    first_non_finite: int | None = None
    """The first of them."""


def compare(pair: Pair, method: Method, contour: Array | None = None, *, pitched: bool = True) -> Scores:
    """Measure one pair.

    Args:
        pair: checked waveforms.
        method: mode and analysis.
        contour: F0 of the reference, if `method.f0` has estimated it already.
        pitched: whether to take the metrics that need a pitch.

    Returns:
        The scores; with non-finite samples in the test waveform none but their count.

    """
    lengths = len(pair.reference), len(pair.test)
    length = min(lengths)
    durations = length / SAMPLE_RATE, (max(lengths) - length) / SAMPLE_RATE
    reference, test = (waveform[:length].astype(np.float64) for waveform in (pair.reference, pair.test))
    values: Values = dict.fromkeys(metric.name for metric in METRICS)
    bad = np.flatnonzero(~np.isfinite(test))
    if bad.size:
        return Scores(pair.name, *durations, values, non_finite=int(bad.size), first_non_finite=int(bad[0]))
    if method.mode == "parity":
        values["snr"] = snr_db(reference, test)
    values["stft"] = stft.stft_distance(reference, test)
    values["loudness"] = level.loudness_difference_lu(reference, test, SAMPLE_RATE)
    values["peak"] = level.peak_difference_db(reference, test)
    errors = pitch.PitchErrors()
    if pitched:
        own = method.f0(reference, pair.f0) if contour is None else contour[: length // HOP_SIZE + 1]
        other = method.f0(test, pair.f0)
        errors = method.pitch_errors((reference, test), (own, other), pair.f0)
        values |= {"log_f0": errors.log_f0_rmse, "vuv": errors.vuv_percent}
        values |= _envelope_values(pair, method, (reference, test), (own, other))
        if length >= MIN_SECONDS * SAMPLE_RATE:
            values["visqol"] = visqol(reference, test, SAMPLE_RATE, aligned=method.mode == "parity")
    return Scores(pair.name, *durations, values, errors)


def _envelope_values(
    pair: Pair, method: Method, waveforms: tuple[Array, Array], contours: tuple[Array, Array]
) -> Values:
    """Compare the envelopes, taken with the F0 asked for, else that of the reference; each its own for a recording."""
    if method.mode == "parity":
        shared = contours[0] if pair.f0 is None else pair.f0.astype(np.float64)
        contours = (shared, shared)
    reference, test = (
        envelope.envelopes(waveform, f0, SAMPLE_RATE, HOP_SIZE)
        for waveform, f0 in zip(waveforms, contours, strict=True)
    )
    spectra = envelope.audible(reference, test, method.range_db)
    settings = method.analysis
    return {
        "mcd": envelope.mel_cepstral_distortion_db(*spectra, settings.mcep_order, settings.all_pass_alpha),
        "envelope": envelope.envelope_distortion_db(*spectra),
    }

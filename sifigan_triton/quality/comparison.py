"""The metrics, in the order of the table, and what they measure on one pair of waveforms."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sifigan_triton.quality import envelope, pitch, waveform
from sifigan_triton.quality.method import Array, Method
from sifigan_triton.quality.pair import HOP_SIZE, SAMPLE_RATE, Pair
from sifigan_triton.quality.visqol import MIN_SECONDS, visqol

Values = dict[str, float | None]


@dataclass(frozen=True)
class Metric:
    """One column of the table."""

    name: str
    """Key in `Bounds`, in the JSON and in `--bound`."""
    unit: str
    """Unit, empty where there is none."""
    digits: int
    """Decimals shown."""
    at_least: bool = False
    """Whether more is better; a bound then is the least value, and otherwise the greatest absolute one."""
    pooled: bool = False
    """Whether a bound holds for all utterances together: one frame of a short one is a large share of it."""
    needs_pitch: bool = False
    """Whether it means something only where the waveform has a pitch: not for noise."""


METRICS = (
    Metric("snr", "dB", 1, at_least=True),
    Metric("visqol", "", 3, at_least=True, needs_pitch=True),
    Metric("mcd", "dB", 3, needs_pitch=True),
    Metric("envelope", "dB", 3, needs_pitch=True),
    Metric("log_f0", "", 4, pooled=True, needs_pitch=True),
    Metric("vuv", "%", 2, pooled=True, needs_pitch=True),
    Metric("stft", "", 3),
    Metric("loudness", "LU", 2),
    Metric("peak", "dB", 2),
)


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
    reference, test = (samples[:length].astype(np.float64) for samples in (pair.reference, pair.test))
    values: Values = dict.fromkeys(metric.name for metric in METRICS)
    bad = np.flatnonzero(~np.isfinite(test))
    if bad.size:
        return Scores(pair.name, *durations, values, non_finite=int(bad.size), first_non_finite=int(bad[0]))
    if method.mode == "parity":
        values["snr"] = waveform.snr_db(reference, test)
    values["stft"] = waveform.stft_distance(reference, test)
    values["loudness"] = waveform.loudness_difference_lu(reference, test, SAMPLE_RATE)
    values["peak"] = waveform.peak_difference_db(reference, test)
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
        envelope.envelopes(samples, f0, SAMPLE_RATE, HOP_SIZE) for samples, f0 in zip(waveforms, contours, strict=True)
    )
    spectra = envelope.audible(reference, test, method.range_db)
    settings = method.analysis
    return {
        "mcd": envelope.mel_cepstral_distortion_db(*spectra, settings.mcep_order, settings.all_pass_alpha),
        "envelope": envelope.envelope_distortion_db(*spectra),
    }

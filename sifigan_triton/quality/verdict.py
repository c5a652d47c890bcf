"""Whether a test waveform is as good as it has to be: the quality gate."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sifigan_triton.quality.bounds import Bounds, bounds_for
from sifigan_triton.quality.comparison import METRICS, Metric, Scores, Values, compare
from sifigan_triton.quality.method import Method
from sifigan_triton.quality.pair import Pair, QualityError
from sifigan_triton.quality.pitch import Following, PitchErrors

logger = logging.getLogger(__name__)

MIN_FOLLOWING = 0.75
"""Share of the voiced frames whose pitch must be the one asked for, or the voice's output counts as noise.
Measured with DIO: recordings and their WORLD resyntheses 92 to 97 %, voices of random weights 3 to 46 %."""

MIN_VOICED_FRAMES = 20
"""Voiced frames asked for, below which that cannot be said and all metrics count."""


@dataclass(frozen=True)
class Verdict:
    """Scores of several utterances against bounds."""

    method: Method
    bounds: Bounds
    scores: tuple[Scores, ...]
    following: Following | None = None
    """How the reference follows the F0 asked for; None if that is not known."""
    precision: str | None = None
    seeded: bool = False
    """Whether the features are seeded, and so no voice."""

    @property
    def pitched(self) -> bool:
        """Whether the reference has the pitch asked for; without one, only finiteness and SNR judge."""
        following = self.following
        if self.seeded or following is None:
            return not self.seeded
        return following.asked < MIN_VOICED_FRAMES or following.share >= MIN_FOLLOWING

    @property
    def passed(self) -> bool:
        """Whether no bound is broken."""
        return not self.reasons

    @property
    def overall(self) -> Values:
        """Over all utterances: pooled over frames where a bound holds for all together, else the worst value."""
        errors = sum((score.errors for score in self.scores), PitchErrors())
        values: Values = {}
        for metric in METRICS:
            measured = [value for score in self.scores if (value := score.values[metric.name]) is not None]
            worst = min if metric.at_least else lambda found: max(found, key=abs)
            values[metric.name] = worst(measured) if measured else None
        return values | {"log_f0": errors.log_f0_rmse, "vuv": errors.vuv_percent}

    @property
    def reasons(self) -> list[str]:
        """What fails: metric, utterance, value and bound of each; empty if all passes."""
        found = [
            f"{score.name}: {score.non_finite} samples are NaN or infinite, the first is sample "
            f"{score.first_non_finite}, expected none"
            for score in self.scores
            if score.non_finite
        ]
        for metric in METRICS:
            limit = self.limit(metric)
            if limit is None:
                continue
            rows = [("all utterances", self.overall)] if metric.pooled and len(self.scores) > 1 else self._rows
            for name, values in rows:
                value = values[metric.name]
                if value is not None and not _within(value, limit, metric):
                    found.append(f"{name}: {_complaint(metric, value, limit)}")
        return found

    def limit(self, metric: Metric) -> float | None:
        """Return the bound on a metric that applies, if any."""
        applies = self.pitched or metric.name == "snr"
        return getattr(self.bounds, metric.name) if applies else None

    @property
    def notes(self) -> list[str]:
        """Remarks under the table."""
        found = []
        if self.following is not None and not self.pitched:
            found.append(
                f"the reference follows the F0 asked for in {self.following.share:.0%} of its voiced frames (a voice: "
                f"{MIN_FOLLOWING:.0%} or more): its output is noise, judged by finite samples and SNR only"
            )
        if self.method.mode == "recording":
            found.append("a recording against a vocoder: phases differ, so there is no SNR of the waveform")
        found += [
            f"{score.name}: the last {score.left_out_seconds:.2f} s of the longer waveform are not compared"
            for score in self.scores
            if score.left_out_seconds
        ]
        if any(score.values[m.name] is None for score in self.scores if not score.non_finite for m in self._expected):
            found.append("-: not defined (ViSQOL below 0.96 s, loudness below 0.4 s, log-F0 without voiced frames)")
        return found

    def table(self) -> str:
        """Return the scores as plain text: a row for each utterance, all together, and the bounds."""
        rows = list(self._rows)
        if len(rows) > 1:
            rows.append(("all", self.overall))
        limits = {metric.name: self.limit(metric) for metric in METRICS}
        lines = [format_table(rows, limits), *(f"note: {note}" for note in self.notes)]
        lines += [f"FAILED  {reason}" for reason in self.reasons]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return everything for a JSON file; null where a value is not measured or not finite."""
        return {
            "mode": self.method.mode,
            "precision": self.precision,
            "passed": self.passed,
            "reasons": self.reasons,
            "pitched": self.pitched,
            "following": None if self.following is None else self.following.share,
            "range_db": _json(self.method.range_db),
            "bounds": {name: _json(limit) for name, limit in self.bounds.as_dict().items()},
            "overall": {name: _json(value) for name, value in self.overall.items()},
            "utterances": [
                {
                    "name": score.name,
                    "seconds": score.seconds,
                    "left_out_seconds": score.left_out_seconds,
                    "non_finite_samples": score.non_finite,
                    "identical": score.values["snr"] == math.inf,
                    **{name: _json(value) for name, value in score.values.items()},
                }
                for score in self.scores
            ],
        }

    @property
    def _rows(self) -> list[tuple[str, Values]]:
        return [(score.name, score.values) for score in self.scores]

    @property
    def _expected(self) -> list[Metric]:
        """The metrics that are taken in this mode and of this voice."""
        return [
            metric
            for metric in METRICS
            if (self.pitched or not metric.needs_pitch) and (metric.name != "snr" or self.method.mode == "parity")
        ]


def judge(
    pairs: Sequence[Pair],
    precision: str | None = None,
    bounds: Bounds | None = None,
    *,
    method: Method | None = None,
    seeded: bool = False,
) -> Verdict:
    """Compare pairs of waveforms and hold the scores against bounds.

    Whether the output is noise is measured on the reference waveforms: if they do not have the pitch that was asked
    for, as with random weights, the metrics that need one are neither taken nor bounded.

    Args:
        pairs: at least one pair of utterances.
        precision: fp32, fp16 or bf16, which gives the default bounds; None: no bounds.
        bounds: instead of the defaults.
        method: mode and analysis; parity with the default analysis if None.
        seeded: whether the features are seeded, and so no voice: nobody looks for a pitch.

    Returns:
        The verdict.

    Raises:
        QualityError: if a pair cannot be compared, or the precision is unknown.

    """
    if not pairs:
        raise QualityError("there are no pairs to judge, expected at least one")
    method = method or Method()
    if bounds is None:
        bounds = Bounds() if precision is None else bounds_for(precision)
    for pair in pairs:
        pair.check(method.mode)
    heard = () if seeded else pairs
    contours = [method.f0(pair.reference.astype(np.float64), pair.f0) for pair in heard]
    asked = [(pair.f0, contour) for pair, contour in zip(heard, contours, strict=True) if pair.f0 is not None]
    following = sum((Following.of(*contour) for contour in asked), Following()) if asked else None
    pitched = Verdict(method, bounds, (), following, seeded=seeded).pitched
    scores = []
    for index, pair in enumerate(pairs):
        logger.debug("comparing %s", pair.name)
        scores.append(compare(pair, method, contours[index] if contours else None, pitched=pitched))
    return Verdict(method, bounds, tuple(scores), following, precision, seeded)


def _within(value: float, limit: float, metric: Metric) -> bool:
    return value >= limit if metric.at_least else abs(value) <= limit


def _complaint(metric: Metric, value: float, limit: float) -> str:
    unit = f" {metric.unit}" if metric.unit else ""
    side = "at least" if metric.at_least else "at most"
    return f"{metric.name} is {value:.{metric.digits}f}{unit}, expected {side} {limit:g}{unit}"


def _json(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def format_table(rows: Sequence[tuple[str, Mapping[str, float | None]]], limits: Mapping[str, float | None]) -> str:
    """Return rows of values, by the metric's name, as plain text with a last row of bounds where there are any."""
    cells = [["", *(f"{metric.name} {metric.unit}".strip() for metric in METRICS)]]
    cells += [[name, *(_cell(metric, values[metric.name]) for metric in METRICS)] for name, values in rows]
    if any(limit is not None for limit in limits.values()):
        cells.append(["bound", *(_bound(metric, limits[metric.name]) for metric in METRICS)])
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _cell(metric: Metric, value: float | None) -> str:
    return "-" if value is None else f"{round(value, metric.digits) + 0.0:.{metric.digits}f}"  # + 0.0: no "-0.00"


def _bound(metric: Metric, limit: float | None) -> str:
    return "" if limit is None else f"{'>=' if metric.at_least else '<='} {limit:g}"

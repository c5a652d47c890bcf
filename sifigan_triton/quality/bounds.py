"""Bounds on the metrics: the one place where the defaults stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace

from sifigan_triton.quality.pair import QualityError

SNR_DB = {"fp32": 100.0, "fp16": 50.0, "bf16": 40.0}
"""Least signal-to-noise ratio of an engine against the FP32 reference, by its precision."""


@dataclass(frozen=True)
class Bounds:
    """Limits; None sets none. Non-finite samples never pass."""

    snr: float | None = None
    """dB, at least."""
    visqol: float | None = None
    """Score from 1 to 4.732, at least."""
    mcd: float | None = None
    """Mel-cepstral distortion in dB, at most."""
    envelope: float | None = None
    """Log-spectral distortion of the envelopes in dB, at most."""
    log_f0: float | None = None
    """Root mean square of the difference in ln F0, at most; of all utterances together."""
    vuv: float | None = None
    """Per cent of frames whose voicing differs, at most; of all utterances together."""
    stft: float | None = None
    """Multi-resolution STFT distance, at most."""
    loudness: float | None = None
    """LU, at most, to either side."""
    peak: float | None = None
    """dB, at most, to either side."""

    @property
    def snr_db(self) -> float:
        """Least signal-to-noise ratio in dB; 0 where there is no bound on it."""
        return 0.0 if self.snr is None else self.snr

    def as_dict(self) -> dict[str, float | None]:
        """Return the limits by the metric's name."""
        return asdict(self)


def bounds_for(precision: str, changes: Mapping[str, float] | None = None) -> Bounds:
    """Return the default bounds of an engine against the FP32 reference, with some replaced.

    Args:
        precision: fp32, fp16 or bf16.
        changes: limits by the metric's name, as `parse_bounds` gives them.

    Raises:
        QualityError: of another precision.

    """
    if precision not in SNR_DB:
        raise QualityError(f"precision is {precision}, expected one of {', '.join(SNR_DB)}")
    bounds = Bounds(snr=SNR_DB[precision], visqol=4.6, mcd=1.0, envelope=1.0, log_f0=0.03, vuv=0.5)
    return replace(bounds, **dict(changes or {}))


def parse_bounds(settings: Iterable[str] | None) -> dict[str, float]:
    """Read limits written as `name=value`; `inf` lets everything pass where less is better, `0` where more is.

    Raises:
        QualityError: naming the setting, what was expected and what was got.

    """
    names = [field.name for field in fields(Bounds)]
    found = {}
    for setting in settings or ():
        name, separator, text = setting.partition("=")
        if not separator or name not in names:
            raise QualityError(f"bound is {setting!r}, expected name=value, where name is one of {', '.join(names)}")
        found[name] = _number(name, text)
    return found


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0.0:
        raise QualityError(f"bound {name} is {text!r}, expected a number of 0 or more, as in {name}=1.5")
    return value

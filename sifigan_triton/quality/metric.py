"""What is measured, in the order of the table."""

from __future__ import annotations

from dataclasses import dataclass


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

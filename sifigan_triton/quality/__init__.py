"""How much one waveform differs from another: metrics, bounds on them, and the verdict of the build's quality gate."""

from sifigan_triton.quality.bounds import Bounds, bounds_for, parse_bounds
from sifigan_triton.quality.comparison import Scores
from sifigan_triton.quality.method import Method
from sifigan_triton.quality.pair import Pair, QualityError
from sifigan_triton.quality.verdict import Verdict, judge
from sifigan_triton.quality.waveform import snr_db

__all__ = [
    "Bounds",
    "Method",
    "Pair",
    "QualityError",
    "Scores",
    "Verdict",
    "bounds_for",
    "judge",
    "parse_bounds",
    "snr_db",
]

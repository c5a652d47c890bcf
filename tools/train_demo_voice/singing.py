"""Singing from Sinsy's Japanese voice (nitech_jp_song070_f001, CC BY 3.0)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pysinsy
import soxr


def sing(score: str, sample_rate: int) -> npt.NDArray[np.float64]:
    """Sing a score.

    Args:
        score: MusicXML.
        sample_rate: samples a second of the result; Sinsy's voice has 48 kHz.

    Returns:
        float64 (L,), of any level.

    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "score.xml"
        path.write_text(score, encoding="utf-8")
        waveform, rate = pysinsy.synthesize(str(path))
    samples = np.asarray(waveform, np.float64) / 32768.0
    return np.asarray(soxr.resample(samples, rate, sample_rate, quality="VHQ"))

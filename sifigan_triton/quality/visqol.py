"""ViSQOL: a prediction of the opinion score that listeners would give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

SAMPLE_RATE = 48000
"""Rate of ViSQOL's audio mode, in Hz."""

MIN_SECONDS = 0.96
"""Shortest signal that holds one patch: 45 windows of 80 ms, 20 ms apart."""

SEARCH_WINDOW = 60
"""Patches to each side among which the library looks for the best match, by default."""


class VisqolMissingError(RuntimeError):
    """The package visqol-python is not installed."""


def visqol(reference: NDArray[np.float64], test: NDArray[np.float64], sample_rate: int, *, aligned: bool) -> float:
    """Return ViSQOL's score (MOS-LQO) in audio mode.

    Gammatone spectrograms of 32 bands, cut into patches of 0.6 s, compared with the neurogram similarity index (NSIM);
    the mean similarity a band goes through a support vector regression. M. Chinen et al., "ViSQOL v3: an open source
    production ready objective speech and audio metric", QoMEX 2020. Computed by `visqol-python`, with two parts put in
    that give the same numbers (`visqol_parts.py`).

    Args:
        reference: float64 (L,), at least 0.96 s, not silent.
        test: float64 (M,).
        sample_rate: samples a second; both are resampled to 48 kHz with SoXR.
        aligned: whether the waveforms are known to lie sample on sample: patches are then sought 0.6 s around their
            place, which finds the same as the library's search and alignment of the whole signal, at a fraction of
            the cost.

    Returns:
        1 (bad) to 4.732 (equal).

    Raises:
        VisqolMissingError: if `visqol-python` is not installed.

    """
    try:
        import visqol as library
        from visqol.alignment import globally_align
        from visqol.analysis_window import AnalysisWindow
        from visqol.audio_utils import AudioSignal
        from visqol.patch_creator import ImagePatchCreator
        from visqol.visqol_core import VisqolCore
        from visqol.visqol_manager import OVERLAP, PATCH_SIZE_AUDIO
    except ImportError as error:
        raise VisqolMissingError(
            f"ViSQOL needs the package visqol-python ({error}): pip install --no-deps visqol-python==3.8.0"
        ) from None
    from sifigan_triton.quality.visqol_parts import FrameParallelBuilder, SupportVectorMapper

    if not test.any():
        return 1.0  # the library would divide by its level
    mapper = SupportVectorMapper(Path(library.__file__).parent / "model" / "libsvm_nu_svr_model.txt")
    mapper.init()
    own, other = (
        AudioSignal(soxr.resample(waveform, sample_rate, SAMPLE_RATE, quality="VHQ"), SAMPLE_RATE)
        for waveform in (reference, test)
    )
    if not aligned:
        other, _ = globally_align(own, other)
    result = VisqolCore().calculate_similarity(
        own,
        other,
        FrameParallelBuilder(),
        AnalysisWindow(SAMPLE_RATE, OVERLAP),
        ImagePatchCreator(PATCH_SIZE_AUDIO),
        1 if aligned else SEARCH_WINDOW,
        mapper,
    )
    return float(result.moslqo)

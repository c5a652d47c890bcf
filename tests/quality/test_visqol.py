"""ViSQOL with the parts put in gives what the library gives."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soxr
import visqol as library
from visqol.analysis_window import AnalysisWindow
from visqol.audio_utils import AudioSignal
from visqol.gammatone import GammatoneSpectrogramBuilder
from visqol.patch_creator import ImagePatchCreator
from visqol.visqol_core import VisqolCore

from sifigan_triton.quality import visqol_parts
from sifigan_triton.quality.visqol import MIN_SECONDS, SAMPLE_RATE, VisqolMissingError, visqol
from sifigan_triton.quality.visqol_parts import FrameParallelBuilder, SupportVectorMapper
from tests.quality_clips import RATE, clip, with_error

MODEL = Path(library.__file__).parent / "model" / "libsvm_nu_svr_model.txt"
LIBSVM = {1.0: 4.732101253042348, 0.5: 3.1799425653184725, 0.0: 1.746550526862781}
"""Scores that libsvm 3.37 gives for a similarity that falls from 1 in the lowest band to this value in the highest."""


def mapper() -> SupportVectorMapper:
    made = SupportVectorMapper(MODEL)
    made.init()
    return made


@pytest.mark.parametrize("last", LIBSVM)
def test_support_vectors_agree_with_libsvm(last: float) -> None:
    assert mapper().predict_quality(np.linspace(1.0, last, 32)) == pytest.approx(LIBSVM[last], abs=1e-6)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    path.write_text("svm_type c_svc\nkernel_type rbf\ngamma 1\nrho 0\nSV\n1 1:1 \n", encoding="ascii")
    with pytest.raises(ValueError, match=r"model\.txt: svm_type is c_svc, expected nu_svr"):
        SupportVectorMapper(path).init()


def test_builder_agrees_with_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    signal = AudioSignal(soxr.resample(clip()[:RATE], RATE, SAMPLE_RATE), SAMPLE_RATE)
    window = AnalysisWindow(SAMPLE_RATE, 0.25)
    ours, theirs = (b.build(signal, window) for b in (FrameParallelBuilder(), GammatoneSpectrogramBuilder(32, 50.0)))
    np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-9)
    np.testing.assert_array_equal(ours.center_freq_bands, theirs.center_freq_bands)
    monkeypatch.setattr(visqol_parts, "FRAMES", 7)
    np.testing.assert_array_equal(FrameParallelBuilder().build(signal, window).data, ours.data)
    with pytest.raises(ValueError, match="signal has 100 samples, expected more than 3840"):
        FrameParallelBuilder().build(AudioSignal(np.ones(100), SAMPLE_RATE), window)


def test_score_agrees_with_the_library() -> None:
    """The library's own parts, its search of the whole signal included, and libsvm's formula at the end."""
    test = with_error(clip(), 55.0)
    signals = [AudioSignal(soxr.resample(w, RATE, SAMPLE_RATE, quality="VHQ"), SAMPLE_RATE) for w in (clip(), test)]
    parts = (GammatoneSpectrogramBuilder(32, 50.0), AnalysisWindow(SAMPLE_RATE, 0.25), ImagePatchCreator(30), 60)
    expected = VisqolCore().calculate_similarity(*signals, *parts, mapper()).moslqo
    assert 2.0 < expected < 4.6
    assert visqol(clip(), test, RATE, aligned=True) == pytest.approx(expected, abs=1e-6)
    assert visqol(clip(), test, RATE, aligned=False) == pytest.approx(expected, abs=1e-6)


def test_extremes() -> None:
    assert visqol(clip(), clip(), RATE, aligned=True) == pytest.approx(4.732, abs=1e-3)
    assert visqol(clip(), np.zeros(len(clip())), RATE, aligned=True) == 1.0
    shortest = clip()[: int(MIN_SECONDS * RATE)]
    assert visqol(shortest, shortest, RATE, aligned=True) == pytest.approx(4.732, abs=1e-3)


def test_missing_library_is_named_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "visqol", None)
    with pytest.raises(VisqolMissingError, match=r"pip install --no-deps visqol-python==3\.8\.0"):
        visqol(clip(), clip(), RATE, aligned=True)

"""Two parts of ViSQOL that stand in for the library's: its gammatone spectrogram, and its regression without libsvm.

`visqol-python` asks for `libsvm-official` to evaluate one small model. That package needs a compiler where it is
installed; the formula needs three lines of NumPy. The library takes any builder and mapper, so nothing of it is
replaced.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import sosfilt
from visqol.analysis_window import AnalysisWindow
from visqol.audio_utils import AudioSignal
from visqol.gammatone import GammatoneSpectrogramBuilder, Spectrogram, make_erb_filters
from visqol.quality_mapper import SimilarityToQualityMapper

FRAMES = 256
"""Frames filtered together: 8 MB at 48 kHz."""

EXPECTED = {"svm_type": "nu_svr", "kernel_type": "rbf"}
"""What the library's model file says of itself."""


class FrameParallelBuilder(GammatoneSpectrogramBuilder):
    """The library's builder with its filters and windows; only the order of the loops differs.

    The library filters frame by frame, each from rest, with 128 calls a frame. Here each band takes many frames at
    once, its four stages as one cascade: equal to 1e-9, and several times as fast.
    """

    bands = 32
    min_frequency_hz = 50.0

    def __init__(self) -> None:
        super().__init__(self.bands, self.min_frequency_hz)

    def build(self, signal: AudioSignal, window: AnalysisWindow) -> Spectrogram:
        """Build the spectrogram of a signal.

        Args:
            signal: the signal, at any rate.
            window: window, and its size and overlap.

        Returns:
            RMS a band and frame: (bands, frames), low frequencies first.

        Raises:
            ValueError: if the signal is not longer than one window.

        """
        if len(signal.data) <= window.size:
            raise ValueError(f"signal has {len(signal.data)} samples, expected more than {window.size}")
        filters = make_erb_filters(signal.sample_rate, self.bands, self.min_frequency_hz, signal.sample_rate / 2.0)
        cascades = _cascades(filters.filter_coeffs[:, ::-1])
        frames = np.lib.stride_tricks.sliding_window_view(signal.data, window.size)[:: window.hop_size]
        rms = np.empty((self.bands, len(frames)))
        for start in range(0, len(frames), FRAMES):
            windowed = frames[start : start + FRAMES] * window.hann_window
            for band, cascade in enumerate(cascades):
                filtered = sosfilt(cascade, windowed, axis=1)
                rms[band, start : start + FRAMES] = np.sqrt(np.mean(filtered**2, axis=1))
        return Spectrogram(rms, center_freq_bands=filters.center_freqs[::-1].copy())


class SupportVectorMapper(SimilarityToQualityMapper):
    """sum over support vectors s of w_s exp(-gamma |x - s|^2) - rho, held within 1 to 5; what libsvm computes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._weights: NDArray[np.float64] = np.empty(0)
        self._vectors: NDArray[np.float64] = np.empty((0, 0))
        self._gamma = self._rho = 0.0

    def init(self) -> None:
        """Read the model.

        Raises:
            ValueError: if it is not a libsvm text file of a nu-SVR with a radial basis function.
            OSError: if it cannot be read.

        """
        header, _, body = self.path.read_text(encoding="ascii").partition("\nSV\n")
        values = dict(line.split(maxsplit=1) for line in header.splitlines())
        for key, expected in EXPECTED.items():
            if values.get(key) != expected:
                raise ValueError(f"{self.path}: {key} is {values.get(key)}, expected {expected}")
        rows = [line.split() for line in body.splitlines()]
        self._gamma, self._rho = float(values["gamma"]), float(values["rho"])
        self._weights = np.array([float(row[0]) for row in rows])
        width = max(int(row[-1].partition(":")[0]) for row in rows)
        self._vectors = np.zeros((len(rows), width))  # what a sparse row leaves out is 0
        for vector, row in zip(self._vectors, rows, strict=True):
            for entry in row[1:]:
                index, _, value = entry.partition(":")
                vector[int(index) - 1] = float(value)

    def predict_quality(
        self,
        fvnsim: NDArray[np.float64],
        fvnsim10: NDArray[np.float64] | None = None,
        fstdnsim: NDArray[np.float64] | None = None,
        fvdegenergy: NDArray[np.float64] | None = None,
    ) -> float:
        """Return the opinion score, 1 to 5, of the mean similarity a band: (32,); the rest is for speech mode."""
        distances = np.sum((self._vectors - np.asarray(fvnsim)) ** 2, axis=1)
        score = float(self._weights @ np.exp(-self._gamma * distances)) - self._rho
        return float(np.clip(score, 1.0, 5.0))


def _cascades(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn the library's rows (A0, A11, A12, A13, A14, A2, B0, B1, B2, gain) into sections: (bands, 4, 6)."""
    a0, a11, a12, a13, a14, a2, b0, b1, b2, gain = coefficients
    sections = np.stack([np.stack([a0, a1, a2, b0, b1, b2], axis=-1) for a1 in (a11, a12, a13, a14)], axis=1)
    sections[:, 0, :3] /= gain[:, None]
    return np.ascontiguousarray(sections)

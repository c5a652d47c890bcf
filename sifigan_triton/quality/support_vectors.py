"""ViSQOL's mapping from similarity to opinion score, a support vector regression, without libsvm.

`visqol-python` asks for `libsvm-official` to evaluate this one small model. That package needs a compiler where it is
installed; the formula needs three lines of NumPy. The library takes any mapper, so nothing of it is replaced.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from visqol.quality_mapper import SimilarityToQualityMapper

EXPECTED = {"svm_type": "nu_svr", "kernel_type": "rbf"}


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

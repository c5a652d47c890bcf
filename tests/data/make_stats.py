"""Make the statistics fixtures with the real scikit-learn and joblib, neither of which the project depends on.

In an environment of its own, once with NumPy 2 and once with NumPy 1 (their pickles name different modules):

    pip install scikit-learn joblib && python tests/data/make_stats.py
    pip install "numpy<2" && python tests/data/make_stats.py

Coefficient k of each feature has mean k - 1 and scale (k + 4) / 8, so the tests know what to expect.
"""

from pathlib import Path

import joblib
import numpy as np
from sklearn.preprocessing import StandardScaler

WIDTHS = {"f0": 1, "cf0": 1, "uv": 1, "mcep": 40, "bap": 3}


def make(folder: Path) -> None:
    """Write `stats.joblib` and `stats.zlib.joblib` with NumPy 2, `stats-numpy1.joblib` with NumPy 1."""
    scalers = {}
    for key, width in WIDTHS.items():
        k = np.arange(width)
        mean, scale = k - 1.0, (k + 4) / 8.0
        scalers[key] = StandardScaler()
        scalers[key].partial_fit(np.stack([mean - scale, mean + scale]))
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        joblib.dump(scalers, folder / "stats-numpy1.joblib")
    else:
        joblib.dump(scalers, folder / "stats.joblib")
        joblib.dump(scalers, folder / "stats.zlib.joblib", compress=3)


if __name__ == "__main__":
    make(Path(__file__).parent)

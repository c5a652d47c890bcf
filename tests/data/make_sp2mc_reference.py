"""Make `sp2mc_reference.npz`: spectra, and what pysptk 1.0.1 makes of them.

pysptk needs a compiler to install, so it is no dependency of this project; this script runs in an environment of its
own:

    pip install "setuptools<81" wheel cython "numpy<2" scipy decorator
    pip install --no-build-isolation pysptk==1.0.1
    python tests/data/make_sp2mc_reference.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pysptk

CASES = {
    "voice-24k": (1024, 39, 0.466),
    "voice-48k": (2048, 24, 0.554),
    "no-warping": (256, 12, 0.0),
    "order-0": (256, 0, 0.466),
    "negative-alpha": (256, 20, -0.3),
}
"""Case -> (fft_size, order, alpha)."""


def spectra(fft_size: int, frames: int = 2) -> np.ndarray:
    """Make (frames, fft_size / 2 + 1) power spectra: formants on a falling line, slightly rough, up to 80 dB apart."""
    rng = np.random.default_rng(fft_size)
    position = np.linspace(0.0, 1.0, fft_size // 2 + 1)
    level = np.empty((frames, len(position)))
    for frame in range(frames):
        centres, heights = rng.uniform(0.0, 0.6, 5), rng.uniform(5.0, 25.0, 5)
        bumps = heights[:, None] * np.exp(-(((position - centres[:, None]) / 0.03) ** 2))
        level[frame] = -80.0 * frame / (frames - 1) - 60.0 * position + bumps.sum(axis=0)
    level += rng.normal(0.0, 1.0, level.shape)
    return 10.0 ** (level / 10.0)


def main() -> None:
    """Write the file beside this script."""
    arrays = {}
    for name, (fft_size, order, alpha) in CASES.items():
        spectrum = spectra(fft_size)
        mcep = pysptk.sp2mc(spectrum, order=order, alpha=alpha)
        arrays[f"{name}/settings"] = np.array([fft_size, order, alpha])
        arrays[f"{name}/spectrum"] = spectrum
        arrays[f"{name}/mcep"] = mcep
        arrays[f"{name}/smoothed"] = pysptk.mc2sp(mcep, alpha=alpha, fftlen=fft_size)
    np.savez_compressed(Path(__file__).with_name("sp2mc_reference.npz"), **arrays)


if __name__ == "__main__":
    main()

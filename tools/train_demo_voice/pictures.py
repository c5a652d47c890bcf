"""Spectrograms of held-out clips: the recording above, what the generator makes of its features below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from sifigan_triton.files import atomic_file

FloatArray = npt.NDArray[np.float32]


def save_pictures(
    path: Path, names: Sequence[str], recordings: Sequence[FloatArray], made: Sequence[FloatArray], sample_rate: int
) -> None:
    """Write a PNG of spectrograms, two rows, a column for each clip.

    Args:
        path: the file.
        names: titles of the columns.
        recordings: float (L,) waveforms.
        made: float (L,) waveforms, in the same order.
        sample_rate: in Hz.

    """
    figure, axes = plt.subplots(2, len(names), figsize=(5.0 * len(names), 6.0), squeeze=False)
    floor = np.random.default_rng(0).normal(0.0, 1e-6, max(len(waveform) for waveform in recordings))
    for column, (name, *rows) in enumerate(zip(names, recordings, made, strict=True)):
        for axis, waveform, what in zip(axes[:, column], rows, ("recording", "generator"), strict=True):
            axis.specgram(waveform + floor[: len(waveform)], 1024, sample_rate, noverlap=904, vmin=-130, vmax=-35)
            axis.set_title(f"{name}: {what}", fontsize=9)
            axis.set_ylim(0, 10000)
    figure.tight_layout()
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=70)
    plt.close(figure)

"""The noise of the excitation: standard normal, and a function of the seed and the position alone."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import numpy as np
import numpy.typing as npt

BLOCK = 4096
"""Samples that are drawn at once: block k of a seed is what NumPy's `PCG64(seed).jumped(k)` gives."""
JUMP = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Draws between the beginnings of two blocks: 2^128 / golden ratio, so that blocks never come near each other. A
counter-based generator such as Philox would jump more simply, and draws a third slower."""
KEPT = 2**23 // BLOCK
"""Blocks that are kept, 32 MB: most requests leave the seed at its default, and drawing costs as much as all else."""


class Noise:
    """Draws blocks of noise, and keeps those that were used last; any number of threads may use it."""

    def __init__(self, kept: int = KEPT) -> None:
        """Draw nothing yet; at most `kept` blocks stay in memory."""
        self._kept, self._lock = kept, Lock()
        self._blocks: OrderedDict[tuple[int, int], npt.NDArray[np.float32]] = OrderedDict()
        self._bits = np.random.PCG64(0)
        self._generator, self._seed, self._begin = np.random.Generator(self._bits), 0, self._bits.state

    def read(self, seed: int, first: int, out: npt.NDArray[np.float32]) -> None:
        """Fill `out`, float32 (samples,), with a seed's noise from the sample `first` of the utterance on."""
        at = 0
        while at < out.size:
            index, skip = divmod(first + at, BLOCK)
            samples = self._block(seed, index)[skip : skip + out.size - at]
            out[at : at + samples.size] = samples
            at += samples.size

    def _block(self, seed: int, index: int) -> npt.NDArray[np.float32]:
        with self._lock:
            block = self._blocks.get((seed, index))
            if block is None:
                block = self._blocks[seed, index] = self._draw(seed, index)
                while len(self._blocks) > self._kept:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end((seed, index))
        return block

    def _draw(self, seed: int, index: int) -> npt.NDArray[np.float32]:
        if seed != self._seed:
            self._seed, self._begin = seed, np.random.PCG64(seed).state
        self._bits.state = self._begin
        self._bits.advance(index * JUMP % 2**128)  # what `jumped` does, without a new generator for each block
        return self._generator.standard_normal(BLOCK, np.float32)


NOISE = Noise()
"""The noise of this process."""

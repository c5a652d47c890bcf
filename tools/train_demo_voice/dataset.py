"""Training segments: random windows of the corpus at random levels, half of them at another pitch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from preprocess import Voice, condition
from preprocess.f0 import continuous_f0
from preprocess.voice import GeneratorConfig, Statistics
from tools.train_demo_voice.pulses import excitation_noise
from tools.train_demo_voice.targets import locked_targets

GAIN_DB = 15.0
"""Every segment gets a random gain of up to this, either way."""

TRANSPOSED_OCTAVES = 1.25
"""Half of the segments have their F0 moved by up to this, either way."""

UNVOICED_SHARE = 0.15
"""Share of the segments that lose their F0 altogether, as in a whisper: their excitation has no sine."""

TRANSPOSED_HZ = (60.0, 900.0)
"""No F0 is moved beyond this."""

PEAK = 0.6
"""No gain lifts a segment's peak beyond this: minimum phases, as the target has them, can have 1.7 times the peaks."""

MARGIN_FRAMES = 40
"""Silence that is kept before the first and after the last loud frame of an utterance."""

FloatArray = npt.NDArray[np.float32]


class CorpusError(ValueError):
    """A corpus holds nothing to train on."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One utterance with its features."""

    name: str
    waveform: npt.NDArray[np.int16]
    """(T * hop_size,)"""
    f0: FloatArray
    """(T,) in Hz, 0 where unvoiced."""
    cf0: FloatArray
    """(T,) in Hz, interpolated over the whole utterance."""
    mcep: FloatArray
    """(T, 40)"""
    bap: FloatArray
    """(T, 3)"""

    @property
    def frames(self) -> int:
        """Number of frames, T."""
        return len(self.f0)

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read a file that `corpus.py` wrote."""
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in ("waveform", "f0", "mcep", "bap")}
        return cls(name=path.stem, cf0=continuous_f0(arrays["f0"]).astype(np.float32), **arrays)

    def trimmed(self) -> Recording:
        """Cut the silence at both ends, up to a margin."""
        loud = np.flatnonzero(self.mcep[:, 0] > self.mcep[:, 0].max() - 6.0)  # 52 dB below the loudest frame
        first, last = max(0, loud[0] - MARGIN_FRAMES), min(self.frames, loud[-1] + MARGIN_FRAMES)
        hop = len(self.waveform) // self.frames
        return Recording(
            self.name,
            self.waveform[first * hop : last * hop],
            self.f0[first:last],
            self.cf0[first:last],
            self.mcep[first:last],
            self.bap[first:last],
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs of the generator and what it should make of them."""

    excitation: Tensor
    """(B, 1, L)"""
    features: Tensor
    """(B, 43, T), normalised."""
    offsets: Tensor
    """(B, P, T)"""
    mcep: Tensor
    """(B, T, 40), not normalised."""
    source: Tensor
    """(B, L), what the source network should make: see `targets.Targets`."""
    target: Tensor
    """(B, L)"""

    def to(self, device: torch.device) -> Batch:
        """Copy to a device."""
        return Batch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def load_recordings(folder: Path, kind: str) -> list[Recording]:
    """Read the `train` or the `heldout` utterances of a corpus, in order, trimmed.

    Raises:
        CorpusError: if there are none.

    """
    recordings = [Recording.load(path).trimmed() for path in sorted(folder.glob(f"{kind}-*.npz"))]
    if not recordings:
        raise CorpusError(f"{folder} holds no {kind}-*.npz: make it with python -m tools.train_demo_voice.corpus")
    return recordings


def make_voice(recordings: Sequence[Recording], channels: int) -> Voice:
    """Make the constants of the voice: statistics of the corpus, the random gain's included.

    A gain of g adds ln g to the zeroth mel-cepstral coefficient and nothing to the others.
    """
    mcep = np.concatenate([recording.mcep for recording in recordings]).astype(np.float64)
    bap = np.concatenate([recording.bap for recording in recordings]).astype(np.float64)
    scale = mcep.std(axis=0)
    gain = np.log(10.0) / 20.0 * 2.0 * GAIN_DB / np.sqrt(12.0)  # of a uniform distribution in dB
    scale[0] = np.hypot(scale[0], gain)
    return Voice(
        name="demo",
        mcep=Statistics(tuple(mcep.mean(axis=0).tolist()), tuple(scale.tolist())),
        bap=Statistics(tuple(bap.mean(axis=0).tolist()), tuple(bap.std(axis=0).tolist())),
        generator=GeneratorConfig(channels=channels),
    )


def with_gain(recording: Recording, gain_db: float) -> FloatArray:
    """Return the mel-cepstrum of a recording as its analysis at another level would give it.

    WORLD's F0 and aperiodicity do not depend on the level, and its envelope scales with it. The gain is lowered where
    the recording's peak would exceed `PEAK`.
    """
    peak = float(np.abs(recording.waveform.astype(np.float32)).max()) / 32767.0
    gain = min(10.0 ** (gain_db / 20.0), PEAK / max(peak, 1e-9))
    mcep = recording.mcep.copy()
    mcep[:, 0] += np.float32(np.log(gain))
    return mcep


def transposed(recording: Recording, factor: float) -> Recording:
    """Multiply F0 by `factor`, or by what keeps it within `TRANSPOSED_HZ`; the waveform stays as it is.

    The factor only shrinks towards 1: what lies beyond the range already is not moved further.
    """
    low, high = TRANSPOSED_HZ[0] / recording.cf0.min(), TRANSPOSED_HZ[1] / recording.cf0.max()
    kept = np.float32(min(max(factor, min(1.0, low)), max(1.0, high)))
    return replace(recording, f0=recording.f0 * kept, cf0=recording.cf0 * kept)


def unvoiced(recording: Recording) -> Recording:
    """Take away F0."""
    return replace(recording, f0=np.zeros_like(recording.f0), cf0=np.zeros_like(recording.cf0))


def cut(recording: Recording, start: int, frames: int) -> Recording:
    """Cut `frames` frames from `start` on; past the end, silence of the last frame's features follows."""
    hop = len(recording.waveform) // recording.frames
    stop = min(start + frames, recording.frames)
    short = start + frames - stop
    part = slice(start, stop)

    def held(values: FloatArray) -> FloatArray:
        return np.pad(values[part], [(0, short)] + [(0, 0)] * (values.ndim - 1), mode="edge")

    return replace(
        recording,
        waveform=np.pad(recording.waveform[start * hop : stop * hop], (0, short * hop)),
        f0=held(recording.f0),
        cf0=held(recording.cf0),
        mcep=held(recording.mcep),
        bap=held(recording.bap),
    )


def collate(recordings: Sequence[Recording], gains_db: Sequence[float], seeds: Sequence[int], voice: Voice) -> Batch:
    """Make a batch of recordings of one length.

    Args:
        recordings: B of them.
        gains_db: B gains.
        seeds: B seeds of the excitation's noise.
        voice: the voice's constants.

    """
    rows = []
    for recording, gain_db, seed in zip(recordings, gains_db, seeds, strict=True):
        mcep = with_gain(recording, gain_db)
        inputs = condition(recording.cf0, mcep, recording.bap, voice, seed=seed)
        noise = excitation_noise(recording.cf0, inputs[0][0], voice)
        targets = locked_targets(recording.f0, recording.cf0, mcep, recording.bap, noise, voice)
        rows.append((*inputs, mcep, targets.source, targets.waveform))
    return Batch(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))


def draw_batch(
    recordings: Sequence[Recording],
    voice: Voice,
    batch_size: int,
    frames: int,
    seed: int,
    step: int,
    part: slice = slice(None),
) -> Batch:
    """Draw the batch of one training step; it follows from `seed` and `step` alone.

    Args:
        recordings: the corpus.
        voice: the voice's constants.
        batch_size: segments in the batch.
        frames: frames of a segment.
        seed: of the training.
        step: its number.
        part: which segments of the batch to make.

    """
    random = np.random.default_rng([seed, step])
    weights = np.array([recording.frames for recording in recordings], np.float64)
    chosen = random.choice(len(recordings), batch_size, p=weights / weights.sum())
    parts = []
    for index in chosen:
        recording = recordings[int(index)]
        parts.append(cut(recording, int(random.integers(max(1, recording.frames - frames + 1))), frames))
    gains_db = random.uniform(-GAIN_DB, GAIN_DB, batch_size)
    octaves = random.uniform(-TRANSPOSED_OCTAVES, TRANSPOSED_OCTAVES, batch_size) * (random.random(batch_size) < 0.5)
    parts = [transposed(segment, 2.0**octave) for segment, octave in zip(parts, octaves, strict=True)]
    whispered = random.random(batch_size) < UNVOICED_SHARE
    parts = [unvoiced(segment) if whisper else segment for segment, whisper in zip(parts, whispered, strict=True)]
    seeds = random.integers(2**31, size=batch_size)
    return collate(parts[part], gains_db[part].tolist(), seeds[part].tolist(), voice)

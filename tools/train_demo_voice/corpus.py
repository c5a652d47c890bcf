"""The corpus: what is spoken and sung, made and analysed, one compressed `.npz` an utterance.

    python -m tools.train_demo_voice.corpus --output corpus --items 480

An utterance that is there already is left alone, so an interrupted run goes on where it stopped and a larger `--items`
adds to a smaller one.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from postprocess import to_pcm16
from preprocess.voice import AnalysisSettings
from sifigan_triton.features.analysis import analyze
from sifigan_triton.features.features import Features
from sifigan_triton.files import atomic_file
from tools.train_demo_voice import augment
from tools.train_demo_voice.contours import chanted, moved
from tools.train_demo_voice.scores import make_score
from tools.train_demo_voice.sentences import make_sentences

SAMPLE_RATE, HOP_SIZE = 24000, 120
HELD_OUT_EVERY = 24
"""Every 24th utterance, its sentence or score with it, is kept out of the training."""

SPEAKER_RANGE_HZ, SINGER_RANGE_HZ = (75.0, 420.0), (150.0, 840.0)
"""F0 of the two voices as they are; the analysis looks no further, which keeps octave errors out of the corpus."""

RUMBLE_HZ = 120.0
"""Songs (G3, 196 Hz, and up) are high-passed here: every seventh of them is drowned in a rumble of Sinsy's."""

CONTOUR_LIMITS_HZ = (76.0, 800.0)
"""Drawn contours are clipped to this, after resampling: Harvest finds no F0 beyond 71 to 840 Hz."""

Kind = Literal["speech", "moved", "chant", "song"]
KINDS: tuple[Kind, ...] = ("speech", "moved", "song", "speech", "chant", "moved", "speech", "song", "moved", "chant")
"""What the utterances are, by turns."""


@dataclass(frozen=True)
class Utterance:
    """One utterance of the corpus; everything about it follows from its index."""

    index: int
    seed: int = 0

    @property
    def kind(self) -> Kind:
        """Speech as it is, speech with its F0 moved, speech chanted on notes, or Sinsy's song."""
        return KINDS[self.index % len(KINDS)]

    @property
    def held_out(self) -> bool:
        """Whether it stays out of the training."""
        return self.index % HELD_OUT_EVERY == HELD_OUT_EVERY // 2

    @property
    def name(self) -> str:
        """Name of its file, without the ending."""
        return f"{'heldout' if self.held_out else 'train'}-{self.index:05d}-{self.kind}"

    def random(self) -> np.random.Generator:
        """Return its own source of random numbers."""
        return np.random.default_rng([self.seed, self.index])


@lru_cache(maxsize=1)
def _speaker() -> object:
    from tools.train_demo_voice.speech import Speaker  # only here: the corpus can be read without hibari-tts

    return Speaker()


def _speak(
    utterance: Utterance, sentence: str, factor: float, random: np.random.Generator
) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
    """Speak or chant one sentence: waveform before resampling by `factor`, and F0 range in Hz after it."""
    from tools.train_demo_voice.speech import CONTOUR_RATE, Speaker

    low, high = CONTOUR_LIMITS_HZ
    seen: list[npt.NDArray[np.float64]] = []
    median, spread = np.exp(random.uniform(np.log(90.0), np.log(520.0))), random.uniform(0.6, 1.4)
    tonic = np.exp(random.uniform(np.log(85.0), np.log(400.0)))

    def contour(f0: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        notes = utterance.kind == "chant"
        f0 = chanted(f0 > 0.0, CONTOUR_RATE, tonic, random) if notes else moved(f0, median, spread)
        f0 = np.where(f0 > 0.0, np.clip(f0, low, high), 0.0)
        seen.append(f0[f0 > 0.0])
        return f0 / factor

    speaker = _speaker()
    assert isinstance(speaker, Speaker)
    speed = random.uniform(0.55, 0.9) if utterance.kind == "chant" else random.uniform(0.75, 1.25)
    plain = utterance.kind == "speech"
    waveform = speaker.speak(sentence, utterance.index, speed / factor, None if plain else contour)
    if plain:
        return waveform, (SPEAKER_RANGE_HZ[0] * factor, SPEAKER_RANGE_HZ[1] * factor)
    f0 = np.concatenate([*seen, np.array([200.0])])
    return waveform, (f0.min() / 1.25, f0.max() * 1.25)


def make_waveform(utterance: Utterance, sentence: str) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
    """Make the waveform of an utterance.

    Args:
        utterance: which one.
        sentence: what is said, unless it is a song.

    Returns:
        float64 (L,) at 24 kHz, levelled, and the F0 range in Hz in which to look.

    """
    random = utterance.random()
    factor = 1.0 if random.random() < 0.2 else float(np.exp(random.uniform(np.log(0.62), np.log(1.5))))
    if utterance.kind == "song":
        from tools.train_demo_voice.singing import sing

        factor = float(np.clip(factor, 0.6, 1.3))
        waveform = sing(make_score(utterance.index, measures=3), SAMPLE_RATE)
        waveform = augment.without_rumble(waveform, SAMPLE_RATE, RUMBLE_HZ)
        f0_range = (SINGER_RANGE_HZ[0] * factor, SINGER_RANGE_HZ[1] * factor)
    else:
        waveform, f0_range = _speak(utterance, sentence, factor, random)
    waveform = augment.levelled(augment.resampled(waveform, factor))
    if random.random() < 0.6:
        waveform = augment.equalized(waveform, SAMPLE_RATE, random.uniform(0.0, 7.0), random)
    if random.random() < 0.35:
        waveform = augment.with_noise(waveform, random.uniform(-80.0, -50.0), random)
    waveform = augment.levelled(waveform)
    return waveform * min(1.0, 0.95 / np.abs(waveform).max()), f0_range


def analyze_pair(
    waveform: npt.NDArray[np.float64], f0_range: tuple[float, float]
) -> tuple[npt.NDArray[np.int16], Features]:
    """Analyse a waveform and pad it to the length that its features stand for.

    Returns:
        int16 (T * 120,) and features of T frames.

    """
    pcm = to_pcm16(waveform)
    standard = AnalysisSettings()
    settings = AnalysisSettings(
        f0_floor=max(standard.f0_floor, f0_range[0]), f0_ceiling=min(standard.f0_ceiling, f0_range[1])
    )
    features = analyze(pcm.astype(np.float64) / 32767.0, SAMPLE_RATE, settings, HOP_SIZE)
    return np.pad(pcm, (0, features.frames * HOP_SIZE - len(pcm))), features


def make_utterance(utterance: Utterance, sentence: str, folder: Path) -> float:
    """Make and analyse one utterance, unless its file is there.

    Returns:
        Seconds of audio that were made.

    """
    path = folder / f"{utterance.name}.npz"
    if path.exists():
        return 0.0
    pcm, features = analyze_pair(*make_waveform(utterance, sentence))
    with atomic_file(path) as file:
        np.savez_compressed(file, waveform=pcm, f0=features.f0, mcep=features.mcep, bap=features.bap, text=sentence)
    return features.seconds


def main(arguments: list[str] | None = None) -> None:
    """Make the corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the corpus, made if absent")
    parser.add_argument("--items", type=int, default=480, help="utterances, of about 4 s (default 480)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    args = parser.parse_args(arguments)
    args.output.mkdir(parents=True, exist_ok=True)
    utterances = [Utterance(index, args.seed) for index in range(args.items)]
    sentences = make_sentences(args.items, args.seed)
    make = partial(make_utterance, folder=args.output)
    with ProcessPoolExecutor(args.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        made = tqdm(pool.map(make, utterances, sentences), total=len(utterances), unit="utterance")
        print(f"{sum(made) / 60.0:.1f} minutes of audio made")


if __name__ == "__main__":
    main()

"""Table: how far features lie from a voice's mean, in its standard deviations; what `LARGEST_DEVIATION` is chosen by.

    python -m benchmarks.feature_range

Columns: what was analysed; the largest deviation of its mel-cepstrum and of its band aperiodicity, by the statistics of
the demonstration voice and of the random one, whichever is the larger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.tracks import DATA, shipped
from preprocess import Voice
from preprocess.voice import Statistics
from sifigan_triton.features.analysis import analyze
from sifigan_triton.features.audio import read_audio
from sifigan_triton.features.requests import Request
from sifigan_triton.voice.folder import random_voice

Waveform = npt.NDArray[np.float64]

RATE, SECONDS = 24000, 6
DEMO = Path(__file__).parent.parent / "voices" / "demo" / "voice.json"


def deviation(values: npt.NDArray[np.float32], statistics: Statistics) -> float:
    """Return the largest deviation of features, float32 (T, C)."""
    return float(np.abs((values - np.array(statistics.mean)) / np.array(statistics.scale)).max())


def changed(waveform: Waveform) -> Iterator[Waveform]:
    """Give a recording in the ways that recordings come."""
    samples = np.arange(len(waveform))
    yield waveform
    yield 1e-3 * waveform
    yield np.round(30 * waveform) / 32768
    yield np.where(samples // RATE % 2, waveform, 0.0)  # silence between
    spectrum = np.fft.rfft(waveform)
    hertz = np.linspace(0, RATE / 2, len(spectrum))
    yield np.fft.irfft(np.where((hertz > 300) & (hertz < 3400), spectrum, 0.0))
    yield np.fft.irfft(np.where(hertz < 4000, spectrum, 0.0))
    for speed in (0.7, 1.6):
        yield np.interp(np.arange(0, len(waveform) - 1, speed), samples, waveform)


def synthetic() -> Iterator[Waveform]:
    """Give what no singer is."""
    random, time = np.random.default_rng(0), np.arange(RATE) / RATE
    yield np.zeros(RATE)
    yield random.uniform(-1.0, 1.0, RATE)
    yield np.round(random.uniform(-1.0, 1.0, RATE)) / 32768
    for hertz in (220, 1000, 10000):
        yield np.sin(2.0 * np.pi * hertz * time)
    for period in (200, RATE):
        yield np.where(np.arange(RATE) % period, 0.0, 1.0)


def analysed(waveforms: Iterable[Waveform], voice: Voice) -> list[Request]:
    """Return the features of waveforms."""
    features = (analyze(waveform, RATE, voice.analysis, voice.hop_size) for waveform in waveforms)
    return [Request(one.f0, one.mcep, one.bap) for one in features]


def narrow(requests: list[Request]) -> Iterator[tuple[Statistics, Statistics]]:
    """Give the statistics of single requests of 2 s or more: voices trained on next to nothing."""
    for request in requests:
        if len(request.f0) >= 400:
            parts = (request.mcep, request.bap)
            mcep, bap = (Statistics(tuple(part.mean(axis=0)), tuple(part.std(axis=0))) for part in parts)
            yield mcep, bap


def main() -> None:
    """Print the table."""
    demo, requests = (
        Voice.load(DEMO),
        [one for name in ("short", "several", "frames-627", "long") for one in shipped(name)],
    )
    voices = [(voice.mcep, voice.bap) for voice in (demo, random_voice(channels=16)[0])]
    recordings = [read_audio(file, RATE)[: SECONDS * RATE] for file in sorted(DATA.glob("*.flac"))]
    clipped = [np.clip(50.0 * waveform, -1.0, 1.0) for waveform in recordings]
    square = [np.sign(np.sin(2.0 * np.pi * 150.0 * np.arange(RATE) / RATE))]
    rows = {
        "requests of `measurement_data`": (requests, voices),
        "its recordings, changed": (analysed((one for all_ in recordings for one in changed(all_)), demo), voices),
        "its recordings, clipped 34 dB beyond full scale": (analysed(clipped, demo), voices),
        "silence, noise, sines, pulses": (analysed(synthetic(), demo), voices),
        "a square wave": (analysed(square, demo), voices),
        "requests, by the statistics of each other": (requests, list(narrow(requests))),
    }
    print("| what | mcep | bap |\n| --- | --- | --- |")
    for what, (features, statistics) in rows.items():
        mcep = max(deviation(one.mcep, of_mcep) for one in features for of_mcep, _ in statistics)
        bap = max(deviation(one.bap, of_bap) for one in features for _, of_bap in statistics)
        print(f"| {what} | {mcep:.1f} | {bap:.1f} |")


if __name__ == "__main__":
    main()

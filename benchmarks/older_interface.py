"""The older interface: a perf_analyzer file for `sifigan-tensors`, and what FP16 tensors would cost.

    python -m benchmarks.older_interface --write build/older-627.json  # then perf_analyzer -m sifigan-tensors
    python -m benchmarks.older_interface                               # table: SNR of rounding each tensor to FP16

Both use the 627 frames of `measurement_data/frames-627.json`. "INPUT__2, refined": the dilation factors in FP16, moved
inside their rounding interval to the F0 that fits the excitation of the frame best (least squares); whether an FP16
`INPUT__2` could be mapped back.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.tracks import Array, shipped
from preprocess import Voice, condition
from preprocess.f0 import continuous_f0, offsets_of_factors
from preprocess.older_tensors import EXCITATION, FACTORS, FEATURES
from sifigan_triton.features.requests import Request, encode_tensor
from sifigan_triton.files import atomic_file
from sifigan_triton.network.generator import Generator
from sifigan_triton.quality import snr_db
from sifigan_triton.voice.folder import load_voice

Tensors = dict[str, Array]
STEPS = 33
"""F0 values that are tried inside one rounding interval."""


def older_tensors(request: Request, voice: Voice, seed: int = 0) -> Tensors:
    """Prepare what a client of the older bare engines sends, without the batch axis.

    Args:
        request: the features of one utterance.
        voice: the voice's constants.
        seed: seed of the excitation's noise.

    Returns:
        `INPUT__0` (1, T * hop_size), `INPUT__1` (43, T), `INPUT__2` (4, T * hop_size), float32.

    """
    excitation, features, _ = condition(request.f0, request.mcep, request.bap, voice, seed=seed)
    cf0 = continuous_f0(request.f0)
    if not cf0.any():
        cf0[:] = voice.sample_rate / voice.dense_factors[0]  # the older client's value where nothing is voiced
    factors = np.zeros((len(voice.dense_factors), cf0.size * voice.hop_size), np.float32)
    for row, (dense, rate) in enumerate(zip(voice.dense_factors, voice.generator.rates, strict=True)):
        factors[row, : cf0.size * rate] = np.repeat(voice.sample_rate / dense / cf0, rate)
    return {EXCITATION: excitation, FEATURES: features, FACTORS: factors}


def write(path: Path, requests: list[Tensors]) -> None:
    """Write a perf_analyzer file: base64 of little-endian float32, shapes without the batch axis."""
    data = [{name: encode_tensor(values) for name, values in tensors.items()} for tensors in requests]
    with atomic_file(path) as file:
        file.write((json.dumps({"data": data}) + "\n").encode("ascii"))


def rounded(values: Array) -> Array:
    """Round to FP16."""
    return values.astype(np.float16).astype(np.float32)


def frame_factors(f0: Array, voice: Voice) -> Array:
    """Return the dilation factors of an F0 (T,) in Hz, one a frame: float32 (4, T)."""
    return np.stack([(voice.sample_rate / dense / f0).astype(np.float32) for dense in voice.dense_factors])


def refine(factors: Array, excitation: Array, voice: Voice) -> Array:
    """Guess the F0 behind factors in FP16 from the excitation, as far as their rounding leaves it open.

    Args:
        factors: float32 (4, T) of FP16 values.
        excitation: float32 (1, T * hop_size).
        voice: the voice's constants.

    Returns:
        float32 (T,), F0 in Hz.

    """
    half_step = np.spacing(factors[0].astype(np.float16)).astype(np.float64) / 2
    scale = voice.sample_rate / voice.dense_factors[0]
    grids = np.linspace(scale / (factors[0] + half_step), scale / (factors[0] - half_step), STEPS, axis=1)
    time = np.arange(1, voice.hop_size + 1) / voice.sample_rate
    frames = excitation.reshape(-1, voice.hop_size)
    return np.array([_best(grid, time, frame) for grid, frame in zip(grids, frames, strict=True)], np.float32)


def _best(grid: Array, time: Array, frame: Array) -> float:
    """Return the frequency of `grid` whose sine and cosine explain most of a frame."""
    angles = 2.0 * np.pi * grid[:, None] * time  # (STEPS, hop_size)
    waves = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    explained = [np.linalg.norm(np.linalg.qr(wave)[0].T @ frame) for wave in waves]
    return float(grid[int(np.argmax(explained))])


def table(voice: Voice, generator: Generator, request: Request) -> list[tuple[str, float]]:
    """Measure the SNR in dB, against FP32, of rounding each tensor to FP16."""
    excitation, features, _ = (*older_tensors(request, voice).values(),)
    exact = frame_factors(continuous_f0(request.f0), voice)
    guessed = frame_factors(refine(rounded(exact), rounded(excitation), voice), voice)
    other_noise = older_tensors(request, voice, seed=1)[EXCITATION]
    cases = {
        "INPUT__0 in FP16": (rounded(excitation), features, exact),
        "INPUT__1 in FP16": (excitation, rounded(features), exact),
        "INPUT__0 and INPUT__1 in FP16": (rounded(excitation), rounded(features), exact),
        "INPUT__2 in FP16": (excitation, features, rounded(exact)),
        "INPUT__2 in FP16, refined": (excitation, features, guessed),
        "for comparison: another seed of the noise": (other_noise, features, exact),
    }
    reference = _run(generator, voice, excitation, features, exact)
    return [(name, snr_db(reference, _run(generator, voice, *inputs))) for name, inputs in cases.items()]


@torch.no_grad()
def _run(generator: Generator, voice: Voice, excitation: Array, features: Array, factors: Array) -> Array:
    inputs = (excitation, features, offsets_of_factors(factors, voice))
    waveform: Array = generator(*(torch.from_numpy(values)[None] for values in inputs))[0, 0].numpy()
    return waveform


def main() -> None:
    """Write a file or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, default=Path("voices/random"))
    parser.add_argument("--write", type=Path, help="write this perf_analyzer file instead of printing the table")
    options = parser.parse_args()
    voice, generator = load_voice(options.voice)
    request = shipped("frames-627")[0]
    if options.write:
        write(options.write, [older_tensors(request, voice)])
        return
    print("| tensor | SNR dB |\n| --- | ---: |")
    for name, snr in table(voice, generator, request):
        print(f"| {name} | {snr:.1f} |")


if __name__ == "__main__":
    main()

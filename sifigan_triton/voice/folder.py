"""A voice folder: `voice.json`, `generator.safetensors` and a card."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import nn

from preprocess.voice import VOICE_FILE as VOICE_FILE
from preprocess.voice import GeneratorConfig, PdIndexing, Statistics, Voice, VoiceError
from sifigan_triton.files import atomic_file, file_hash
from sifigan_triton.network.generator import Generator

WEIGHTS_FILE = "generator.safetensors"
CARD_FILE = "README.md"

MAX_WEIGHTS = 2**26
"""Most weights of a generator, 256 MiB and eight times those of the public recipe."""

MAX_FILE_BYTES = 2**29
"""Largest `generator.safetensors`, in bytes: that many weights as FP64."""

MAX_HEADER_BYTES = 2**20
"""Longest header of a `generator.safetensors`; a real one has some 20,000 bytes."""

MAX_REASON = 500
"""Most characters of PyTorch's reason, which names every tensor that does not fit."""


def save_voice(folder: Path, voice: Voice, generator: Generator, card: str) -> None:
    """Write a voice folder; files of the same names are replaced, each in one step and `voice.json` last.

    Args:
        folder: the voice's folder, made if absent.
        voice: the voice's constants.
        generator: its weights.
        card: Markdown text: what the voice is, where it comes from, its licence.

    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
    with atomic_file(folder / WEIGHTS_FILE) as file:
        file.write(serialize(weights, metadata={"format": "pt"}))
    for name, text in ((CARD_FILE, card), (VOICE_FILE, voice.to_json())):
        with atomic_file(folder / name) as file:
            file.write(text.encode())


def load_voice(folder: Path) -> tuple[Voice, Generator]:
    """Read a voice folder; nothing in it is executed.

    Returns:
        The constants, and the generator in evaluation mode with its weights, FP32.

    Raises:
        VoiceError: naming the file, if one is missing or the weights do not fit the constants.

    """
    voice = Voice.load(folder / VOICE_FILE)
    path = folder / WEIGHTS_FILE
    try:
        check_size(voice.generator)
    except VoiceError as error:
        raise VoiceError(f"{folder / VOICE_FILE}: generator: {error}") from None
    generator = Generator(voice.generator, voice.pd_indexing)
    try:
        _check_header(path)
        weights = load_file(path)
        _check_values(path, weights)
        generator.load_state_dict(weights)
    except (OSError, SafetensorError) as error:
        raise VoiceError(f"{path}: {error}") from None
    except RuntimeError as error:
        raise VoiceError(f"{path} does not fit {VOICE_FILE}: {str(error)[:MAX_REASON]}") from None
    return voice, generator.eval().requires_grad_(False)


def check_size(config: GeneratorConfig) -> None:
    """Refuse a generator of too many weights, before memory is taken for them.

    Raises:
        VoiceError: naming the constants that make the size, how many weights there were and how many there may be.

    """
    with torch.device("meta"):
        count = sum(tensor.numel() for tensor in Generator(config).state_dict().values())
    if count > MAX_WEIGHTS:
        raise VoiceError(
            f"channels = {config.channels:,} with these kernels and dilations make {count:,} weights, expected at most "
            f"{MAX_WEIGHTS:,}: check channels (512 in the public recipe), kernels and dilations"
        )


def _check_header(path: Path) -> None:
    """Refuse a weights file whose size, or whose header's, is no voice's; the library checks the rest of the header."""
    with path.open("rb") as file:
        size, header = file.seek(0, os.SEEK_END), int.from_bytes(os.pread(file.fileno(), 8, 0), "little")
    for what, got, allowed in (("file", size, MAX_FILE_BYTES), ("header", header, MAX_HEADER_BYTES)):
        if got > allowed:
            raise VoiceError(f"{path}: the {what} has {got:,} bytes, expected at most {allowed:,}: take another voice")


def _check_values(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Refuse weights that are no finite numbers."""
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            raise VoiceError(f"{path}: {name} is {tensor.dtype}, expected floating-point numbers")
        if not torch.isfinite(tensor.float()).all():
            raise VoiceError(f"{path}: {name} holds NaN, infinity or more than FP32 holds, expected finite weights")


def voice_hash(folder: Path) -> str:
    """Return the SHA-256 of the voice's constants and weights, in hexadecimal."""
    digest = hashlib.sha256()
    for name in (VOICE_FILE, WEIGHTS_FILE):
        digest.update(bytes.fromhex(file_hash(folder / name)))
    return digest.hexdigest()


def random_voice(
    name: str = "random", channels: int = 512, seed: int = 0, pd_indexing: PdIndexing = "reflect"
) -> tuple[Voice, Generator]:
    """Make a voice of seeded random weights: it sounds like noise, but costs and rounds like a trained one.

    The weights keep the variance of the signal through the network: with PyTorch's default initialisation the biases
    drown the signal, and rounding errors weigh more than in a trained network. The statistics are round figures near
    those of the recordings in `measurement_data`.
    """
    config = GeneratorConfig(channels=channels)
    mcep = Statistics(
        mean=(-6.0, 2.75, 0.0, 1.2, -0.25, 0.75, -0.4, 0.35, -0.3, *[0.0] * 31),
        scale=tuple(round(1.3 * (order + 1) ** -0.83, 3) for order in range(40)),
    )
    bap = Statistics(mean=(-6.0, -3.0, -2.4), scale=(5.0, 2.3, 1.6))
    provenance = {"weights": f"random, torch.manual_seed({seed})"}
    voice = Voice(name, mcep, bap, config, pd_indexing=pd_indexing, provenance=provenance)
    with torch.random.fork_rng(devices=[]):
        generator = Generator(config, pd_indexing).eval().requires_grad_(False)
        torch.manual_seed(seed)
        _randomize(generator)
    return voice, generator


def _randomize(generator: Generator) -> None:
    """Draw the weights from normal distributions that keep the variance of the signal; biases become zero."""
    slope = generator.config.negative_slope
    units = 3 * len(generator.config.upsample_scales)  # residual units in a row, about
    for name, layer in generator.named_modules():
        if not isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            continue
        taps = 2 if isinstance(layer, nn.ConvTranspose1d) else layer.kernel_size[0]
        gain = math.sqrt(2.0 / (1.0 + slope**2) / (taps * layer.in_channels))  # He et al. 2015
        if "pitch_dependent" in name:
            gain /= math.sqrt(3.0)  # its three taps are added
        if "dilated" in name or "additional" in name:
            gain /= math.sqrt(units)  # the end of a residual branch
        if name == "excitation_conv":
            gain *= 10.0  # the excitation's amplitude is 0.1
        layer.weight.normal_(0.0, gain)
        if layer.bias is not None:
            layer.bias.zero_()
    last = generator.output_conv.weight
    last -= last.mean(dim=2, keepdim=True)  # no offset in the waveform
    last *= 0.02  # a healthy level, far from saturation


RANDOM_CARD = """# Random voice

Seeded random weights in the shape of the SiFi-GAN generator. It makes noise, not speech: it serves to measure speed
and rounding until a trained voice takes its place. Made by `sifigan-triton random-voice`; no licence applies to the
numbers, the project's Apache-2.0 covers the command that makes them.
"""

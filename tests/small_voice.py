"""A small voice for fast tests, loud enough that a single wrong index shows in its output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from preprocess import Settings, Voice, Windows, condition
from preprocess.names import STATIC_INPUTS
from preprocess.voice import PdIndexing
from sifigan_triton.network.crop_plan import CropPlan, crop_plan
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.generator import Generator
from sifigan_triton.network.narrowing_engine import NarrowingEngine
from sifigan_triton.voice.folder import random_voice

WINDOW, F0_FLOOR = 32, 400.0
GAIN = 1.5
"""Factor on the default weights: without it, 16 channels yield little but the sum of the biases."""

FloatArray = npt.NDArray[np.float32]
Inputs = tuple[FloatArray, FloatArray, npt.NDArray[np.int32]]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: small tensors gain nothing from more, and on a busy machine they wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def small_voice(pd_indexing: PdIndexing = "reflect", **hyperparameters: Any) -> tuple[Voice, Generator]:
    """Make a voice of 16 channels with seeded weights."""
    voice, _ = random_voice("small", channels=16, pd_indexing=pd_indexing)
    config = replace(voice.generator, **hyperparameters)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(config, pd_indexing).eval().requires_grad_(False)
    for name, parameter in generator.named_parameters():
        if name.endswith("weight"):
            parameter.mul_(GAIN)
    return replace(voice, generator=config), generator


def small_spec(voice: Voice, generator: Generator, window: int = WINDOW, f0_floor: float = F0_FLOOR) -> EngineSpec:
    """Say what a small engine is made from."""
    return EngineSpec(voice, generator, window, f0_floor)


def small_settings(voice: Voice, window: int = WINDOW, f0_floor: float = F0_FLOOR) -> tuple[Settings, CropPlan]:
    """Plan a small engine for a voice."""
    plan = crop_plan(voice, window, f0_floor)
    return Settings(voice, window, plan.halo, f0_floor, max_batch_size=128), plan


def random_features(voice: Voice, frames: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Draw mel-cepstra and band aperiodicities with the voice's mean and scale."""
    random = np.random.default_rng(seed)
    drawn = [
        random.normal(statistics.mean, statistics.scale, (frames, len(statistics.mean))).astype(np.float32)
        for statistics in (voice.mcep, voice.bap)
    ]
    return drawn[0], drawn[1]


def inputs_of(voice: Voice, f0: FloatArray) -> Inputs:
    """Make the full-length inputs of the generator from an F0 in Hz, with random features."""
    return condition(f0, *random_features(voice, f0.size), voice)


def random_inputs(voice: Voice, frames: int, f0_floor: float = F0_FLOOR) -> Inputs:
    """Make the full-length inputs of the generator: an F0 that wanders over two octaves from the floor up."""
    wander = 0.5 - 0.5 * np.cos(np.arange(frames) * 2.0 * np.pi / 90.0)
    return inputs_of(voice, np.maximum(f0_floor * 4.0**wander, f0_floor).astype(np.float32))


def tensors(inputs: Inputs) -> list[Tensor]:
    """Give full-length inputs a batch axis."""
    return [torch.from_numpy(values)[None] for values in inputs]


@one_thread()
@torch.no_grad()
def run_generator(generator: Generator, inputs: Inputs) -> FloatArray:
    """Run the full-length model: float32 (T * hop_size,)."""
    waveform: FloatArray = generator(*tensors(inputs))[0, 0].numpy()
    return waveform


@one_thread()
@torch.no_grad()
def run_engine(engine: NarrowingEngine, windows: Windows) -> FloatArray:
    """Run the PyTorch engine on a batch of windows: float32 (n, 1, window * hop_size)."""
    waveform: FloatArray = engine(
        *(torch.from_numpy(np.array(getattr(windows, name))) for name in STATIC_INPUTS)
    ).numpy()
    return waveform

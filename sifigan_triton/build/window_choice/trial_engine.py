"""Engines that are built to be timed, and thrown away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from preprocess import Settings, Windows
from preprocess.voice import Voice
from sifigan_triton.build.engine_maker import EngineMaker
from sifigan_triton.build.options import BuildOptions
from sifigan_triton.network.crop_plan import CropPlan, crop_plan
from sifigan_triton.network.generator import Generator
from sifigan_triton.network.stage_costs import stage_costs
from sifigan_triton.repository.engine_kinds import EngineKind
from sifigan_triton.repository.model_config import window_tensors
from sifigan_triton.repository.runtimes import Engine, load_engine


@dataclass(frozen=True, eq=False)
class TrialEngine:
    """A loaded engine of one window."""

    settings: Settings
    kind: EngineKind
    macs: int
    """Multiply-adds of one window."""
    engine: Engine

    def run(self, windows: Windows) -> npt.NDArray[np.float32]:
        """Compute a batch of windows: float32 (n, 1, window * hop_size)."""
        tensors = {tensor.name: getattr(windows, tensor.name) for tensor in window_tensors(self.settings)}
        return self.engine.run(tensors)


@dataclass(frozen=True)
class TrialMaker:
    """Makes engines of one voice, kind and floor, for any window."""

    options: BuildOptions
    """What is to be built; its window is not looked at."""
    kind: EngineKind
    voice: Voice
    generator: Generator
    scratch: Path
    """Folder for the engines' files."""
    report: Callable[[str], None]

    def make(self, window: int) -> TrialEngine:
        """Make the engine of one window, as the build does, and load it, as the server does."""
        options, kind = self.options, self.kind
        plan = crop_plan(self.voice, window, options.f0_floor)
        settings = Settings(self.voice, window, plan.halo, plan.f0_floor, options.max_batch_size)
        folder = self.scratch / str(window)
        folder.mkdir()
        timing_cache = options.output.resolve().parent / ".tensorrt-timing.cache"  # the build's own
        maker = EngineMaker(self.generator, settings, plan, folder, self.report, timing_cache)
        keep = options.keep_fp32 if kind.precision == "fp16" and not isinstance(options.keep_fp32, str) else ()
        maker.make(kind, folder, keep)
        inputs = {tensor.name: list(tensor.dims) for tensor in window_tensors(settings)}
        engine = load_engine(kind.runtime, folder, kind.precision, inputs)
        return TrialEngine(settings, kind, macs_of(self.voice, plan), engine)


def macs_of(voice: Voice, plan: CropPlan) -> int:
    """Return the multiply-adds of one window."""
    return sum(cost.macs for cost in stage_costs(voice, plan))

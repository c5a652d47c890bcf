"""Which groups of layers to keep in FP32: measured, so that as few as needed are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sifigan_triton.build.gate import Utterance
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.precision import WideSums, in_precision, layer_groups
from sifigan_triton.network.stage_costs import stage_costs


@dataclass(frozen=True)
class GroupNoise:
    """What one group of layers costs in quality when it alone computes in reduced precision."""

    name: str
    snr_db: float
    """Signal-to-noise ratio against the FP32 generator."""
    share: float
    """The group's share of the engine's arithmetic, 0 to 1."""

    @property
    def noise(self) -> float:
        """Noise power over signal power."""
        return float(10.0 ** (-self.snr_db / 10.0))


def measure_groups(spec: EngineSpec, utterance: Utterance, dtype: torch.dtype) -> list[GroupNoise]:
    """Measure every group of layers alone in reduced precision, the noisiest first.

    Convolutions are summed up in FP32, as matrix units do, so that the figures hold for engines on a GPU.

    Args:
        spec: the voice and the shape of the static engine, from which the arithmetic is counted.
        utterance: what to run.
        dtype: the reduced precision.

    """
    inputs = [torch.from_numpy(values)[None] for values in utterance.inputs]
    macs = {cost.name.replace(" ", "-"): cost.macs for cost in stage_costs(spec.voice, spec.plan)}
    groups = list(layer_groups(spec.generator))
    signal = utterance.reference.astype(np.float64)
    measured = []
    for name in groups:
        reduced = in_precision(spec.generator, dtype, set(groups) - {name})
        with torch.inference_mode(), WideSums():
            noise = signal - reduced(*inputs)[0, 0].numpy()
        ratio = np.sum(signal**2) / max(np.sum(noise**2), np.finfo(np.float64).tiny)
        measured.append(GroupNoise(name, float(10.0 * np.log10(ratio)), macs[name] / sum(macs.values())))
    return sorted(measured, key=lambda group: group.snr_db)


def fewest_to_keep(groups: Sequence[GroupNoise], bound_db: float, kept: int, measured_db: float | None) -> int:
    """Return how many of the noisiest groups have to stay in FP32 to reach a signal-to-noise ratio.

    Rounding errors of different layers are independent, so that their powers add up; a runtime that rounds less often
    than was assumed makes a constant share of the noise.

    Args:
        groups: the measured groups, the noisiest first.
        bound_db: what to reach.
        kept: groups that an engine, already made, keeps in FP32.
        measured_db: its signal-to-noise ratio; None if it is not known.

    """
    assumed = sum(group.noise for group in groups[kept:])
    share = 1.0 if measured_db is None or not assumed else 10.0 ** (-measured_db / 10.0) / assumed
    allowed = 10.0 ** (-bound_db / 10.0)
    return next(k for k in range(len(groups) + 1) if share * sum(g.noise for g in groups[k:]) <= allowed)


def format_groups(groups: Sequence[GroupNoise], kept: Sequence[str]) -> str:
    """Return the measured groups as a text table: quality alone in reduced precision, arithmetic, what is kept."""
    lines = [f"{'group alone in reduced precision':<34}{'SNR dB':>8}{'arithmetic':>12}  kept in FP32"]
    lines += [
        f"{group.name:<34}{group.snr_db:>8.1f}{group.share:>12.1%}  {'yes' if group.name in kept else ''}".rstrip()
        for group in groups
    ]
    share = sum(group.share for group in groups if group.name in kept)
    rest = sum(group.noise for group in groups if group.name not in kept)
    expected = f"{-10.0 * np.log10(rest):.1f} dB by the sum of the others" if rest else "nothing reduced"
    return "\n".join(
        [*lines, f"{len(kept)} of {len(groups)} groups in FP32, {share:.1%} of the arithmetic; {expected}"]
    )

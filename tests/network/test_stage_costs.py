"""The counted arithmetic equals what the engine really computes, and the table adds up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from preprocess.names import STATIC_INPUTS
from preprocess.windows import split
from sifigan_triton.network.crop_plan import crop_plan
from sifigan_triton.network.narrowing_engine import NarrowingEngine
from sifigan_triton.network.stage_costs import format_plan, stage_costs
from sifigan_triton.voice.folder import random_voice
from tests.small_voice import one_thread, random_inputs, small_settings, small_voice

STAGES = [
    "input",
    "excitation down",
    *(f"source {i}" for i in (1, 2, 3, 4)),
    "source down",
    *(f"filter {i}" for i in (1, 2, 3, 4)),
    "output",
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.mark.parametrize(
    "hyperparameters",
    [
        pytest.param({}, id="default"),
        pytest.param({"filter_additional_convs": True}, id="filter-additional"),
        pytest.param({"source_additional_convs": False}, id="no-source-additional"),
        pytest.param({"upsample_scales": (2, 3, 4, 5)}, id="other-scales"),
    ],
)
@torch.no_grad()
def test_counted_multiply_adds_are_those_of_the_engine(hyperparameters: dict[str, Any]) -> None:
    voice, generator = small_voice(**hyperparameters)
    settings, plan = small_settings(voice)
    windows = split(*random_inputs(voice, settings.window), settings)
    with FlopCounterMode(display=False) as counter:
        NarrowingEngine(generator, voice, plan)(
            *(torch.from_numpy(np.array(getattr(windows, n))) for n in STATIC_INPUTS)
        )
    counted = sum(cost.macs for cost in stage_costs(voice, plan))
    measured = counter.get_total_flops() / 2  # a multiply-add is two operations
    assert counted == pytest.approx(measured, rel=0.005)  # whole phases of the up-sampling are computed, then cropped


def test_every_stage_is_counted_once() -> None:
    voice, _ = small_voice()
    assert [cost.name for cost in stage_costs(voice, small_settings(voice)[1])] == STAGES


def test_halos_only_add() -> None:
    voice, _ = small_voice()
    for cost in stage_costs(voice, small_settings(voice)[1]):
        assert cost.macs >= cost.bare_macs > 0, cost.name


def test_arithmetic_without_halo_follows_the_window_alone() -> None:
    voice, _ = small_voice()

    def bare(window: int, f0_floor: float) -> int:
        return sum(cost.bare_macs for cost in stage_costs(voice, crop_plan(voice, window, f0_floor)))

    assert bare(64, 50.0) == bare(64, 400.0)
    assert bare(128, 50.0) == 2 * bare(64, 50.0)


def test_default_plan_costs_little_more_than_no_halo() -> None:
    voice, _ = random_voice()
    costs = stage_costs(voice, crop_plan(voice, 512, 70.0))
    overhead = sum(cost.macs for cost in costs) / sum(cost.bare_macs for cost in costs) - 1.0
    assert 0.05 < overhead < 0.2
    assert sum(cost.bare_macs for cost in costs if cost.name.startswith("filter")) > 0.65 * sum(
        cost.bare_macs for cost in costs
    )


def test_table() -> None:
    voice, _ = random_voice()
    lines = format_plan(voice, crop_plan(voice, 512, 70.0)).splitlines()
    assert lines[0] == "window 512 frames, f0_floor 70 Hz, halo 216 frames: the engine sees 944 frames"
    rows = {line[:18].strip(): line[18:].split() for line in lines[2:]}
    assert list(rows) == [*STAGES, "all"]
    assert [float(rows[f"source {i}"][0]) for i in (1, 2, 3, 4)] == [1.0, 4.0, 12.0, 24.0]  # kHz
    shares = [float(values[-2].rstrip("%")) for name, values in rows.items() if name != "all"]
    assert sum(shares) == pytest.approx(100.0, abs=0.6)
    total = sum(float(values[-3]) for name, values in rows.items() if name != "all")
    assert total == pytest.approx(float(rows["all"][0]), abs=0.06)
    assert all(re.fullmatch(r"\+[0-9.]+%", values[-1]) for values in rows.values())

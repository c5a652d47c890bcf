"""The quality gate: a broken engine is refused with figures and a fix, and the previous one stays in place."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.tracks import DATA
from sifigan_triton.build.gate import edge_utterance, read_utterances, smaller_window_utterances
from sifigan_triton.build.model_repository import BuildOptions, GateError, build
from sifigan_triton.network import export, generator
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.generator import Generator
from sifigan_triton.network.indexing import tap_indices
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.servable import read_manifest
from sifigan_triton.voice.folder import random_voice, save_voice
from tests.small_build import contents, leftovers, logged
from tests.small_voice import one_thread, small_spec, small_voice

pytestmark = pytest.mark.slow

Break = Callable[[pytest.MonkeyPatch], None]
FP16 = ENGINES["onnx-fp16"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture
def options(tmp_path: Path) -> BuildOptions:
    save_voice(tmp_path / "voice", *random_voice("small", channels=32), "# Card\n")
    return BuildOptions(
        tmp_path / "voice", tmp_path / "models", (FP16,), window=16, f0_floor=300.0, gate_data=(DATA / "short.json",)
    )


def while_exporting(monkeypatch: pytest.MonkeyPatch, change: Callable[[Generator, pytest.MonkeyPatch], None]) -> None:
    """Change the model while it is exported, and only then: the reference stays right."""
    original = export.export_dynamic_onnx

    def broken(spec: EngineSpec, *arguments: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            change(spec.generator, patch)
            original(spec, *arguments)

    monkeypatch.setattr(export, "export_dynamic_onnx", broken)


def indices_in_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded(positions: Tensor, offsets: Tensor, length: Tensor, mode: Any) -> tuple[Tensor, Tensor]:
        indices = tap_indices(positions, offsets, length, mode)
        return tuple(index.half().to(index.dtype) for index in indices)  # type: ignore[return-value]

    while_exporting(monkeypatch, lambda _, patch: patch.setattr(generator, "tap_indices", rounded))


def nan_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(model: Generator, dtype: torch.dtype, keep: Any) -> Generator:
        copy = in_precision(model, dtype, keep)
        copy.filter_stages[2][1][0].dilated.weight[3, 2, 1] = torch.nan
        return copy

    in_precision = export.in_precision
    while_exporting(monkeypatch, lambda _, patch: patch.setattr(export, "in_precision", poisoned))


@pytest.mark.parametrize(
    ("break_it", "figure"),
    [
        pytest.param(indices_in_fp16, r"\d dB", id="indices-in-fp16"),
        pytest.param(nan_weight, r"(?i)finite|nan", id="nan-weight"),
    ],
)
def test_broken_engine_is_refused_and_the_previous_one_stays(
    options: BuildOptions, monkeypatch: pytest.MonkeyPatch, break_it: Break, figure: str
) -> None:
    build(options)
    before = contents(options.output)
    with monkeypatch.context() as patch:
        break_it(patch)
        with pytest.raises(GateError, match=r"sifigan-onnx-fp16 fails the quality gate and is not published") as error:
            build(replace(options, bounds={"snr": 49.0}))  # another bound: it has to be made anew
    assert error.match(figure)
    assert error.match("--keep-fp32 auto")
    assert contents(options.output) == before
    assert leftovers(options.output) == []


def test_every_smaller_window_of_an_engine_is_judged(options: BuildOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """The glide of 128 + 65 frames ends with windows of 64 and 16: the one between them is run as well."""
    original = export.export_cpu_onnx

    def broken(spec: EngineSpec, *arguments: Any) -> None:
        if spec.window == 32:
            spec = replace(spec, generator=copy.deepcopy(spec.generator))
            spec.generator.input_conv.weight.mul_(1.01)
        original(spec, *arguments)

    monkeypatch.setattr(export, "export_cpu_onnx", broken)
    with pytest.raises(GateError, match=r"glide, ends with 31 frames: snr is \d+\.\d dB, expected at least 100 dB"):
        build(replace(options, engines=(ENGINES["openvino-fp32"],), window=128))
    assert contents(options.output) == {}


def test_manifest_holds_the_figures(options: BuildOptions) -> None:
    build(options)
    manifest = read_manifest(options.output / FP16.model / "1")
    assert manifest["kept_in_fp32"] == []
    assert "snr" in str(manifest["quality"])
    assert manifest["engine"] == "onnx-fp16"


def test_bounds_are_configurable(options: BuildOptions) -> None:
    with pytest.raises(GateError, match="90"):
        build(replace(options, bounds={"snr": 90.0}))
    assert contents(options.output) == {}


@pytest.mark.parametrize("bound", [51.0, 62.0])
def test_as_few_groups_as_needed_stay_in_fp32(options: BuildOptions, bound: float) -> None:
    """A higher bound keeps more groups in FP32, and what is kept is enough."""
    with logged(logging.DEBUG) as lines:
        build(replace(options, keep_fp32="auto", bounds={"snr": bound}))
    kept = read_manifest(options.output / FP16.model / "1")["kept_in_fp32"]
    text = "\n".join(lines)
    assert "group alone in reduced precision" in text
    assert f"{len(kept)} of 11 groups in FP32" in text
    assert (0 < len(kept) < 11) if bound == 62.0 else (kept == [])


def test_groups_given_by_hand(options: BuildOptions) -> None:
    build(replace(options, keep_fp32=("filter-4", "source-4")))
    assert read_manifest(options.output / FP16.model / "1")["kept_in_fp32"] == ["filter-4", "source-4"]
    with pytest.raises(ValueError, match="no group of layers is called filter-9"):
        build(replace(options, keep_fp32=("filter-9",)))


def test_utterances_below_the_floor_are_raised_to_it() -> None:
    spec = small_spec(*small_voice(), f0_floor=150.0)
    utterances = read_utterances([DATA / "short.json", DATA / "several.json"], spec)
    assert [utterance.name for utterance in utterances] == ["short", *(f"several {i}" for i in range(1, 5))]
    for utterance in utterances:
        voiced = utterance.f0[utterance.f0 > 0.0]
        assert voiced.size > 0
        assert voiced.min() >= 150.0


def test_edge_utterance_reaches_the_floor_and_two_windows() -> None:
    spec = small_spec(*small_voice())
    utterance = edge_utterance(spec)
    assert utterance.windows(static=True).bounds.shape == (3, 2)
    assert utterance.windows(static=False).features.shape == (1, 43, utterance.f0.size)
    assert np.float32(spec.f0_floor) == utterance.f0[0]
    assert utterance.reference.shape == (utterance.f0.size * 120,)


def test_smaller_windows_end_an_utterance_each() -> None:
    spec = small_spec(*small_voice(), window=128)
    wanted = []
    for utterance in smaller_window_utterances(spec):
        bounds = utterance.windows(static=True).bounds
        assert bounds.shape == (2, 2)
        wanted.append(bounds[-1, 1] - spec.settings.halo)
    assert wanted == [63, 31, 15, 96, 48]


def test_request_file_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"data": [{"f0": [1, 2]}]}')
    with pytest.raises(ValueError, match=r"x.json holds no requests of the form"):
        read_utterances([tmp_path / "x.json"], small_spec(*small_voice()))

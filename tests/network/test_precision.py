"""Groups of layers in reduced precision: every layer belongs to one, and what is kept stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from preprocess.windows import split
from sifigan_triton.network.generator import Generator
from sifigan_triton.network.narrowing_engine import NarrowingEngine
from sifigan_triton.network.precision import WideSums, in_precision, layer_groups
from sifigan_triton.quality import snr_db
from tests.small_voice import (
    one_thread,
    random_inputs,
    run_engine,
    run_generator,
    small_settings,
    small_voice,
    tensors,
)

GROUPS = ["input", "excitation-down", *(f"source-{i}" for i in range(1, 5)), "source-down"]
GROUPS += [f"filter-{i}" for i in range(1, 5)]


def inner(generator: Generator) -> list[int]:
    """Return the identities of all parameters but those of the last convolution, which always stays in FP32."""
    last = {id(p) for p in generator.output_conv.parameters()}
    return sorted({id(p) for p in generator.parameters()} - last)


def test_every_layer_but_the_last_belongs_to_one_group() -> None:
    _, generator = small_voice()
    groups = layer_groups(generator)
    assert list(groups) == GROUPS
    grouped = [id(p) for layers in groups.values() for layer in layers for p in layer.parameters()]
    assert sorted(grouped) == inner(generator)


@pytest.mark.parametrize("shared", ["share_upsamples", "share_downsamples"])
def test_shared_layers_belong_to_the_source_network(shared: str) -> None:
    _, generator = small_voice(**{shared: True})
    grouped = [id(p) for layers in layer_groups(generator).values() for layer in layers for p in layer.parameters()]
    assert sorted(grouped) == inner(generator)
    assert ("source-down" in layer_groups(generator)) is (shared != "share_downsamples")


def test_generator_is_left_alone() -> None:
    _, generator = small_voice()
    copy = in_precision(generator, torch.float16, ["source-1"])
    assert {p.dtype for p in generator.parameters()} == {torch.float32}
    for name, layers in layer_groups(copy).items():
        expected = torch.float32 if name == "source-1" else torch.float16
        assert {p.dtype for layer in layers for p in layer.parameters()} == {expected}, name
    assert {p.dtype for p in copy.output_conv.parameters()} == {torch.float32}


def test_unknown_group_is_named() -> None:
    _, generator = small_voice()
    with pytest.raises(ValueError, match="no group of layers is called filter-5, expected some of input, excitation-"):
        in_precision(generator, torch.float16, ["filter-4", "filter-5"])


@pytest.mark.parametrize("sharing", [{}, {"share_upsamples": True, "share_downsamples": True}], ids=["own", "shared"])
@pytest.mark.parametrize("mode", ["reflect", "zero"])
def test_each_kept_group_makes_it_better(mode: str, sharing: dict[str, bool]) -> None:
    """Engine and full-length model take every mixture, and everything kept is FP32 again, bitwise."""
    voice, generator = small_voice(mode, **sharing)  # type: ignore[arg-type]
    settings, plan = small_settings(voice)
    inputs = random_inputs(voice, 40)
    reference = run_generator(generator, inputs)
    scores = []
    groups = list(layer_groups(generator))
    for kept in (0, len(groups) // 2, len(groups) - 1, len(groups)):
        reduced = in_precision(generator, torch.float16, groups[:kept])
        scores.append(snr_db(reference, run_generator(reduced, inputs)))
        windows = run_engine(NarrowingEngine(reduced, voice, plan), split(*inputs, settings))
        assert abs(min(snr_db(reference, windows.ravel()[: reference.size]), 110.0) - min(scores[-1], 110.0)) < 3.0
    assert scores == sorted(scores)
    assert scores[0] > 30.0
    assert scores[-1] == np.inf


def test_wide_sums_round_once() -> None:
    x, weight = torch.randn(1, 64, 50).half(), torch.randn(8, 64, 3).half()
    with WideSums():
        got = torch.nn.functional.conv1d(x, weight)
        untouched = torch.nn.functional.conv1d(x.float(), weight.float())
    assert got.dtype == torch.float16
    assert torch.equal(got, untouched.half())


def test_wide_sums_run_a_mixed_generator() -> None:
    voice, generator = small_voice()
    inputs = random_inputs(voice, 20)
    with one_thread(), torch.inference_mode(), WideSums():
        got = in_precision(generator, torch.bfloat16, ["filter-1"])(*tensors(inputs))[0, 0].numpy()
    assert 15.0 < snr_db(run_generator(generator, inputs), got) < 60.0

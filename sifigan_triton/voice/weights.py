"""The generator's weights in a checkpoint of the public training code: their names, and their weight norm."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preprocess.voice import GeneratorConfig, PdIndexing
from sifigan_triton.network.generator import Generator
from sifigan_triton.voice import CheckpointError

_NORMED = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))
"""How PyTorch names magnitude and direction of a weight: `nn.utils.weight_norm`, and its successor."""

_PARALLEL = "module."
"""What PyTorch's DataParallel puts in front of every name."""

_TAPS = (("current", "convsC"), ("past", "convsP"), ("future", "convsF"))


def read_weights(path: Path, config: GeneratorConfig, pd_indexing: PdIndexing) -> tuple[Generator, int | None]:
    """Read the generator of a `checkpoint-*.pkl` file; nothing in it is executed.

    Args:
        path: what the public trainer saves: `["model"]["generator"]` is used, the discriminator, the optimizers and the
            schedulers are not.
        config: the generator's hyperparameters.
        pd_indexing: end rule of the pitch-dependent convolutions that the voice was trained with.

    Returns:
        The generator in evaluation mode, FP32, weight norm folded, and the training steps (None if not stated).

    Raises:
        CheckpointError: naming the file and the key, what was expected and what was got.

    """
    checkpoint = _load(path)
    state = _generator_state(path, checkpoint)
    generator = Generator(config, pd_indexing)
    folded: dict[str, Tensor] = {}
    used: set[str] = set()
    wanted = generator.state_dict()
    for ours, public in layer_names(config):
        folded[f"{ours}.weight"], keys = _weight(path, state, public, wanted[f"{ours}.weight"].shape)
        used.update(keys)
        if config.bias:
            folded[f"{ours}.bias"] = _tensor(path, state, f"{public}.bias", wanted[f"{ours}.bias"].shape)
            used.add(f"{public}.bias")
    assert folded.keys() == wanted.keys()
    _check_rest(path, set(state) - used, config)
    generator.load_state_dict(folded)
    steps = checkpoint.get("steps")
    return generator.eval().requires_grad_(False), steps if isinstance(steps, int) else None


def layer_names(config: GeneratorConfig) -> Iterator[tuple[str, str]]:
    """Yield the name of each convolution in our `Generator` and in the public `SiFiGANGenerator`."""
    stages = range(len(config.upsample_scales))
    yield "input_conv", "input_conv"
    yield "excitation_conv", "sn.emb"
    yield "output_conv", "fn.output_conv.1"
    for i in stages:
        yield f"source_upsamples.{i}", f"sn.upsamples.{i}.1"
        if not config.share_upsamples:
            yield f"_filter_upsamples.{i}", f"fn.upsamples.{i}.1"
    for i in stages[:-1]:
        yield f"source_downsamples.{i}", f"sn.downsamples.{i}.0"
        if not config.share_downsamples:
            yield f"_filter_downsamples.{i}", f"fn.downsamples.{i}.0"
    for i in stages:
        for k in range(len(config.source_dilations[i])):
            for ours, public in _TAPS:
                yield f"source_stages.{i}.{k}.pitch_dependent.{ours}", f"sn.blocks.{i}.{public}.{k}"
            if config.source_additional_convs:
                yield f"source_stages.{i}.{k}.additional", f"sn.blocks.{i}.convsA.{k}.1"
    for i in stages:
        for j, dilations in enumerate(config.filter_dilations):
            block = i * len(config.filter_dilations) + j
            for k in range(len(dilations)):
                yield f"filter_stages.{i}.{j}.{k}.dilated", f"fn.blocks.{block}.convs1.{k}.1"
                if config.filter_additional_convs:
                    yield f"filter_stages.{i}.{j}.{k}.additional", f"fn.blocks.{block}.convs2.{k}.1"


def dropped_layers(config: GeneratorConfig) -> tuple[str, ...]:
    """Return the public layers that no waveform depends on.

    They are the source network's output, which only the training loss sees, and the last down-sampling layers, whose
    output the public forward never computes.
    """
    last = len(config.upsample_scales) - 1
    return ("sn.output_conv.1", f"sn.downsamples.{last}.0", f"fn.downsamples.{last}.0")


def _load(path: Path) -> dict[str, Any]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()
        unsafe = next((line.strip() for line in reason if "GLOBAL" in line), reason[0] if reason else "")
        raise CheckpointError(
            f"{path}: refused, it holds more than tensors and numbers; nothing was run ({unsafe})"
        ) from None
    except Exception as error:  # noqa: BLE001 - a damaged file raises whatever its bytes lead to
        raise CheckpointError(
            f"{path}: not a PyTorch checkpoint, or damaged ({type(error).__name__}: {error})"
        ) from None
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"{path}: holds a {type(checkpoint).__name__}, expected a dictionary with the key 'model'"
        )
    return checkpoint


def _generator_state(path: Path, checkpoint: dict[str, Any]) -> Mapping[str, Any]:
    """Return `["model"]["generator"]`."""
    inner: Any = checkpoint
    for key in ("model", "generator"):
        if not isinstance(inner, dict) or key not in inner:
            got = ", ".join(map(str, list(inner)[:8])) if isinstance(inner, dict) else type(inner).__name__
            raise CheckpointError(
                f"{path}: ['model']['generator'] is missing (found {got or 'nothing'}), expected a checkpoint-*.pkl as "
                "the public trainer saves it"
            )
        inner = inner[key]
    if not isinstance(inner, dict):
        raise CheckpointError(f"{path}: ['model']['generator'] is {type(inner).__name__}, expected a state dictionary")
    state = {str(key): value for key, value in inner.items()}
    if all(key.startswith(_PARALLEL) for key in state):
        return {key.removeprefix(_PARALLEL): value for key, value in state.items()}
    return state


def _weight(path: Path, state: Mapping[str, Any], layer: str, shape: torch.Size) -> tuple[Tensor, tuple[str, ...]]:
    """Return a layer's weight, weight norm folded in FP64, and the keys it came from."""
    for names in _NORMED:
        keys = (f"{layer}.{names[0]}", f"{layer}.{names[1]}")
        if any(key in state for key in keys):
            magnitude = _tensor(path, state, keys[0], torch.Size([shape[0], 1, 1])).double()
            direction = _tensor(path, state, keys[1], shape).double()
            norm = torch.linalg.vector_norm(direction, dim=(1, 2), keepdim=True)
            if not norm.all():
                raise CheckpointError(f"{path}: {keys[1]} has a row of zeros, its weight norm is not defined")
            return (direction * (magnitude / norm)).float(), keys
    key = f"{layer}.weight"
    if key not in state:
        raise _missing(path, f"{layer}.{_NORMED[0][0]} (or {key})")
    return _tensor(path, state, key, shape), (key,)


def _tensor(path: Path, state: Mapping[str, Any], key: str, shape: torch.Size) -> Tensor:
    """Return a checked tensor in FP32."""
    if key not in state:
        raise _missing(path, key)
    value = state[key]
    if not isinstance(value, Tensor) or not value.is_floating_point():
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise CheckpointError(f"{path}: {key} is {got}, expected a tensor of floating-point numbers")
    if value.shape != shape:
        raise CheckpointError(
            f"{path}: {key} has shape {tuple(value.shape)}, expected {tuple(shape)} by the generator YAML: check that "
            "both belong together"
        )
    if not torch.isfinite(value).all():
        raise CheckpointError(f"{path}: {key} holds NaN or infinity, expected finite weights: take another checkpoint")
    return value.float()


def _missing(path: Path, key: str) -> CheckpointError:
    return CheckpointError(f"{path}: {key} is missing, expected by the generator YAML: check that both belong together")


def _check_rest(path: Path, rest: set[str], config: GeneratorConfig) -> None:
    """Refuse keys that are neither used nor known to be useless."""
    droppable = tuple(f"{layer}." for layer in dropped_layers(config))
    unknown = sorted(key for key in rest if not key.startswith(droppable))
    if unknown:
        raise CheckpointError(
            f"{path}: {len(unknown)} unknown keys, the first is {unknown[0]}: the generator YAML describes no such "
            "layer, check that both belong together"
        )

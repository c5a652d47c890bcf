"""The generator's weights in a checkpoint of the public training code: their names, and their weight norm."""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preprocess.limits import shown
from preprocess.voice import GeneratorConfig, PdIndexing
from sifigan_triton.files import bounded_zip
from sifigan_triton.network.generator import Generator
from sifigan_triton.voice import CheckpointError

_NORMED = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))
"""How PyTorch names magnitude and direction of a weight: `nn.utils.weight_norm`, and its successor."""

_PARALLEL = "module."
"""What PyTorch's DataParallel puts in front of every name."""

MAX_BYTES = 2**32
"""Largest checkpoint, in bytes. A whole one of the public trainer has some 10**9, discriminators and optimizers
included, and all of it is read into memory."""

MAX_PICKLE_BYTES = 2**20
"""Largest pickle of a checkpoint, in bytes, which says where each tensor lies: some 10**5 for a whole training. Python
may take hundred times of it."""

MAX_SHARED_TUPLES = 16
"""How often the pickle may use a tuple again, as one optimizer's groups share `betas`. As the key of a dictionary, a
tuple that holds the last one twice, 40 times over, takes days to hash."""

_ADMITTED = re.compile(
    r"collections\.(OrderedDict|Counter)|torch\.(\w+Storage|Size|device)|torch\._utils\._rebuild_(tensor_v2|parameter)"
)
"""What the pickle of a checkpoint of the public trainer asks for."""

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
        _check_archive(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # noqa: BLE001 - a damaged file raises whatever its bytes lead to
        reason = (str(error).splitlines() or [""])[0][:200]
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in reason:
            reason = "not what the public trainer saves"  # PyTorch's text explains how to load it unsafely
        raise CheckpointError(
            f"{path}: not a PyTorch checkpoint, or damaged ({type(error).__name__}: {reason})"
        ) from None
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"{path}: holds a {type(checkpoint).__name__}, expected a dictionary with the key 'model'"
        )
    return checkpoint


def _check_archive(path: Path) -> None:
    """Refuse what would take much more memory than the file has bytes, and what asks for code, before PyTorch reads."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise CheckpointError(f"{path}: has {size:,} bytes, expected at most {MAX_BYTES:,}, take one checkpoint")
    try:
        # PyTorch packs nothing, so that all entries together cannot be larger than the file.
        with bounded_zip(path, (zipfile.ZIP_STORED,), size) as archive:
            names = [name for name in archive.namelist() if name.endswith(".pkl")]
            if len(names) != 1 or not names[0].endswith("/data.pkl"):
                raise zipfile.BadZipFile(f"holds {len(names)} pickles, expected one, data.pkl")
            length = archive.getinfo(names[0]).file_size
            if length > MAX_PICKLE_BYTES:
                raise zipfile.BadZipFile(f"{names[0]} has {length:,} bytes, expected at most {MAX_PICKLE_BYTES:,}")
            _check_globals(path, archive.read(names[0]))
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path}: not a PyTorch checkpoint, or damaged ({error}): expected a file that torch.save of PyTorch 1.6 "
            "or later wrote"
        ) from None


def _check_globals(path: Path, data: bytes) -> None:
    """Refuse a pickle that asks for more than tensors: what PyTorch admits can take memory without end (bytearray)."""
    tuples: set[Any] = set()  # where the pickle remembers one
    shared, on_top = 0, False
    for code, argument, _ in pickletools.genops(data):
        again = code.name.endswith("BINGET") and argument in tuples
        on_top = again or code.name.startswith("TUPLE") or (on_top and code.name.endswith("BINPUT"))
        if on_top and code.name.endswith("BINPUT"):
            tuples.add(argument)
        shared += again
        asked = "a name made while it is read" if code.name == "STACK_GLOBAL" else str(argument).replace(" ", ".")
        if code.name in ("STACK_GLOBAL", "INST") or (code.name == "GLOBAL" and not _ADMITTED.fullmatch(asked)):
            raise CheckpointError(
                f"{path}: refused, it holds more than tensors and numbers; nothing was run (asks for the global "
                f"{asked[:60]}): take a checkpoint as the public trainer saves it"
            )
    if shared > MAX_SHARED_TUPLES:
        raise zipfile.BadZipFile(
            f"data.pkl uses tuples more than once, {shared} times, expected at most {MAX_SHARED_TUPLES}"
        )


def _generator_state(path: Path, checkpoint: dict[str, Any]) -> Mapping[str, Any]:
    """Return `["model"]["generator"]`."""
    inner: Any = checkpoint
    for key in ("model", "generator"):
        if not isinstance(inner, dict) or key not in inner:
            got = ", ".join(map(_name, list(inner)[:8])) if isinstance(inner, dict) else type(inner).__name__
            raise CheckpointError(
                f"{path}: ['model']['generator'] is missing (found {got or 'nothing'}), expected a checkpoint-*.pkl as "
                "the public trainer saves it"
            )
        inner = inner[key]
    if not isinstance(inner, dict):
        raise CheckpointError(f"{path}: ['model']['generator'] is {type(inner).__name__}, expected a state dictionary")
    state = {_name(key): value for key, value in inner.items()}
    if all(key.startswith(_PARALLEL) for key in state):
        return {key.removeprefix(_PARALLEL): value for key, value in state.items()}
    return state


def _name(key: object) -> str:
    """Return a key of a dictionary as text; other keys than text can be of any size and depth."""
    return key[:200] if isinstance(key, str) else shown(key)


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
    if value.device.type != "cpu" or value.layout != torch.strided:
        raise CheckpointError(f"{path}: {key} is a tensor without plain numbers, expected a dense one: take another")
    if value.shape != shape:
        raise CheckpointError(
            f"{path}: {key} has shape {tuple(value.shape)}, expected {tuple(shape)} by the generator YAML: check that "
            "both belong together"
        )
    if not torch.isfinite(value.float()).all():
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

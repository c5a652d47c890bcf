"""An ONNX engine -> a TensorRT plan, with TensorRT 8.6 to 11 and with TensorRT-RTX.

The types of the file are the types of the plan (strong typing): what the export keeps in FP32 or INT32 stays there.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocess.settings import Settings
from sifigan_triton.build.tensorrt.layers import Layer, float_types, impose_types, network_layers
from sifigan_triton.build.tensorrt.library import TensorRTError, is_rtx, load_tensorrt, network_flags, strongly_typed
from sifigan_triton.build.tensorrt.progress import Progress, message_log, progress_monitor
from sifigan_triton.files import atomic_file
from sifigan_triton.repository.tensorrt_plan import Gpu, read_gpus

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A serialised TensorRT engine and what it was made of."""

    serialized: bytes
    layers: tuple[Layer, ...]
    """Layers of the parsed network; the builder fuses most of them."""
    batches: tuple[int, int, int]
    """Smallest, optimum and largest batch of the optimisation profile."""
    library: str
    """What built it: "tensorrt" or "tensorrt_rtx"."""
    tensorrt_version: str
    gpu: Gpu | None
    """The GPU that it is bound to; None where there is none."""
    seconds: float
    """Time that parsing and building took."""

    @property
    def machine(self) -> dict[str, Any]:
        """What the manifest says of the machine that the plan is bound to, see `manifest.problems`."""
        return {
            "tensorrt_library": self.library,
            "tensorrt_version": self.tensorrt_version,
            "gpu_name": self.gpu.name if self.gpu else "",
            "compute_capability": self.gpu.compute_capability if self.gpu else "",
        }


@dataclass
class _Session:
    """The objects of one build; TensorRT's refer to each other, so they live together."""

    trt: Any
    log: Any
    builder: Any
    network: Any
    config: Any
    errors: list[str]


def build_plan(
    onnx_file: Path,
    settings: Settings,
    trt: Any = None,
    *,
    optimum_batch: int = 1,
    timing_cache: Path | None = None,
    tf32: bool = False,
    compute_capability: str | None = None,
    workspace_bytes: int | None = None,
) -> Plan:
    """Build a plan whose batch axis runs from 1 to the settings' `max_batch_size`.

    Args:
        onnx_file: the exported engine; its types are obeyed.
        settings: constants of the voice and the engine.
        trt: the module, from `load_tensorrt` (None calls it) or `load_tensorrt_rtx`.
        optimum_batch: the batch that kernels are chosen for.
        timing_cache: file with kernel timings of earlier builds, read and written; TensorRT-RTX has no use for it.
        tf32: let FP32 convolutions round their operands to 11 significant bits on the GPU's matrix units: faster, about
            60 dB instead of over 100.
        compute_capability: for TensorRT-RTX, the GPU to build for, such as "SM89"; None is the one in this machine.
        workspace_bytes: memory that the plan may ask for at its largest batch, activations included (some 120 MB
            a window of 512 frames in FP32, 60 MB in FP16); None is all of the GPU's.

    Raises:
        TensorRTError: if TensorRT is missing, if the graph does not fit the settings, or if it cannot be parsed or
            built, with all that the parser or the builder says.

    """
    if not 1 <= optimum_batch <= settings.max_batch_size:
        raise TensorRTError(
            f"optimum batch is {optimum_batch}, expected 1 to max_batch_size, {settings.max_batch_size}"
        )
    trt = load_tensorrt() if trt is None else trt
    started = time.monotonic()
    session = _parse(onnx_file, trt)
    config, batches = session.config, (1, optimum_batch, settings.max_batch_size)
    layers = tuple(layer for _, layer in network_layers(session.network))
    logger.debug("%s: %d layers; building with %s %s", onnx_file.name, len(layers), trt.__name__, trt.__version__)
    if workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if not strongly_typed(trt):
        impose_types(session.network, config, trt, float_types(onnx_file))
    if is_rtx(trt):
        _set_compute_capability(session, compute_capability)
    config.add_optimization_profile(_profile(session, settings, batches, onnx_file))
    serialized = _build(session, onnx_file, None if is_rtx(trt) else timing_cache)
    seconds = time.monotonic() - started
    logger.debug("%s: plan of %.1f MB in %.0f s", onnx_file.name, len(serialized) / 1e6, seconds)
    gpus = () if compute_capability else read_gpus()
    library = "tensorrt_rtx" if is_rtx(trt) else "tensorrt"
    return Plan(serialized, layers, batches, library, str(trt.__version__), gpus[0] if gpus else None, seconds)


def _parse(onnx_file: Path, trt: Any) -> _Session:
    errors: list[str] = []
    log = message_log(trt, errors)
    builder = trt.Builder(log)
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not onnx_file.is_file():
        raise TensorRTError(f"{onnx_file} is no file")
    if not parser.parse_from_file(str(onnx_file)):
        said = [_parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
        raise TensorRTError(
            f"{trt.__name__} {trt.__version__} cannot parse {onnx_file}: "
            + "; ".join(said or errors or ["no reason given"])
        )
    return _Session(trt, log, builder, network, builder.create_builder_config(), errors)


def _parser_error(error: Any) -> str:
    """Describe one error of the parser; the node's name and operator are told since TensorRT 9.1."""
    where = [getattr(error, name)() for name in ("node_operator", "node_name") if hasattr(error, name)]
    return f"{error.desc()} (node {error.node()}{''.join(f', {part}' for part in where if part)})"


def _set_compute_capability(session: _Session, compute_capability: str | None) -> None:
    known = session.trt.ComputeCapability
    name = compute_capability or "CURRENT"
    if not hasattr(known, name):
        raise TensorRTError(f"compute capability is {name!r}, TensorRT-RTX knows {', '.join(known.__members__)}")
    session.config.num_compute_capabilities = 1
    session.config.set_compute_capability(getattr(known, name), 0)


def _profile(session: _Session, settings: Settings, batches: tuple[int, int, int], onnx_file: Path) -> Any:
    """Make the optimisation profile; every input has the batch axis in front and is static behind it."""
    profile = session.builder.create_optimization_profile()
    frames = settings.input_frames
    for index in range(session.network.num_inputs):
        tensor = session.network.get_input(index)
        batch, *rest = tensor.shape
        if batch != -1 or -1 in rest:
            raise TensorRTError(
                f"{onnx_file}: input {tensor.name} has the shape {(batch, *rest)}, expected a batch axis of -1 "
                "and static ones behind it: only the narrowing engine, with its static window, becomes a plan"
            )
        if tensor.name == "features" and rest[-1] != frames:
            raise TensorRTError(
                f"{onnx_file} sees {rest[-1]} frames, expected {frames} (window {settings.window}, halo "
                f"{settings.halo}): export it again with these settings"
            )
        profile.set_shape(tensor.name, *((size, *rest) for size in batches))
    return profile


def _build(session: _Session, onnx_file: Path, timing_cache: Path | None) -> bytes:
    trt, config = session.trt, session.config
    progress = Progress()
    monitor = progress_monitor(trt, progress)
    if monitor is not None:
        config.progress_monitor = monitor
    if timing_cache is not None:
        _read_timing_cache(config, timing_cache)
    memory = session.builder.build_serialized_network(session.network, config)
    progress.check()
    if memory is None:
        reasons = "; ".join(session.errors) or "no reason given"
        raise TensorRTError(f"{trt.__name__} {trt.__version__} cannot build {onnx_file}: {reasons}")
    if timing_cache is not None:
        with atomic_file(timing_cache) as file:
            file.write(memoryview(config.get_timing_cache().serialize()))
    return bytes(memory)


def _read_timing_cache(config: Any, path: Path) -> None:
    """Use the timings of earlier builds; those of another GPU or TensorRT are left out."""
    content = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(content)
    if content and (cache is None or not config.set_timing_cache(cache, False)):
        logger.info("%s is of another GPU or TensorRT: kernels are timed anew", path)
        content = b""
        cache = config.create_timing_cache(content)
    if not content:
        config.set_timing_cache(cache, False)

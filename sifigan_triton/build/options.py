"""What to build, and what this machine can build."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sifigan_triton.features.requests import measurement_file
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.quality import Bounds, bounds_for
from sifigan_triton.repository.engine_kinds import ENGINES, EngineKind, Platform
from sifigan_triton.repository.voice_names import check_voice_name, of_voice

AUTO = "auto"
GATE_DATA = tuple(measurement_file(f"{name}.json") for name in ("short", "frames-627", "several", "long"))
"""Requests that every reduced-precision engine has to get right before it is published."""


class BuildError(RuntimeError):
    """A build was asked for something that cannot be built."""


@dataclass(frozen=True)
class BuildOptions:
    """What to build."""

    voice: Path
    output: Path
    engines: tuple[EngineKind, ...] = field(default_factory=lambda: auto_engines())
    default_engine: EngineKind | None = None
    """Engine behind the ensemble `sifigan`; None is the last of `engines`."""
    window: int = EngineSpec.window
    f0_floor: float = EngineSpec.f0_floor
    max_batch_size: int = EngineSpec.max_batch_size
    platform: Platform = "wheel"
    keep_fp32: tuple[str, ...] | str = ()
    """Groups of layers that stay in FP32 in engines of reduced precision; "auto" measures which ones have to."""
    bounds: Mapping[str, float] = field(default_factory=dict)
    """Bounds of the quality gate that replace the default ones, by name."""
    gate_data: tuple[Path, ...] = GATE_DATA
    name: str = ""
    """The voice's name among several of the repository; empty: its models have the plain names."""

    def folder(self, kind: EngineKind) -> Path:
        """Return the folder of an engine's model, relative to the repository."""
        return Path(of_voice(kind.model, self.name))

    def bounds_of(self, kind: EngineKind) -> Bounds:
        """Return the bounds that an engine is held to; those of FP32 engines find defects, and cannot be loosened."""
        return bounds_for(kind.precision, {} if kind.precision == "fp32" else self.bounds)

    @property
    def default(self) -> EngineKind:
        """Engine behind the ensemble `sifigan`."""
        return self.default_engine or self.engines[-1]

    def check(self) -> None:
        """Check what concerns several options.

        Raises:
            BuildError: naming the option, what was expected and the fix.

        """
        if self.name:
            try:
                check_voice_name(self.name)
            except ValueError as error:
                raise BuildError(f"--as: {error}") from None
        reduced = [kind.name for kind in self.engines if kind.precision != "fp32"]
        missing = [str(path) for path in self.gate_data if not path.is_file()]
        if reduced and missing:
            raise BuildError(
                f"--gate-data: {', '.join(missing)} is no file, and {', '.join(reduced)} has to be judged by it: name "
                "files of requests"
            )
        if self.default not in self.engines:
            raise BuildError(
                f"default engine {self.default.name} is not built, expected one of "
                f"{[kind.name for kind in self.engines]}: add --engine {self.default.name}"
            )
        if self.max_batch_size < 1:
            raise BuildError(f"--max-batch is {self.max_batch_size}, expected at least 1")
        if self.keep_fp32 and not any(kind.precision == "fp16" for kind in self.engines):
            raise BuildError(
                f"--keep-fp32 is for FP16 engines, got {', '.join(kind.name for kind in self.engines)}: add --engine "
                "onnx-fp16, pt-fp16 or trt-fp16"
            )


def auto_engines() -> tuple[EngineKind, ...]:
    """Return the engines for this machine, the fastest last.

    OpenVINO in FP32, in BF16 where the CPU computes in BF16, and TensorRT in FP16 where TensorRT and an NVIDIA GPU are
    there.
    """
    names = ["openvino-fp32"]
    if cpu_has_bf16(Path("/proc/cpuinfo").read_text(encoding="utf-8")):
        names.append("openvino-bf16")
    if has_tensorrt():
        names.append("trt-fp16")
    return tuple(ENGINES[name] for name in names)


def all_engines() -> tuple[EngineKind, ...]:
    """Return every engine that can be built on this machine."""
    return tuple(kind for kind in ENGINES.values() if kind.runtime != "trt" or has_tensorrt())


def has_tensorrt() -> bool:
    """Tell whether plans can be built and judged here: the package `tensorrt`, a GPU and a CUDA build of torch."""
    return importlib.util.find_spec("tensorrt") is not None and torch.cuda.is_available()


def cpu_has_bf16(cpuinfo: str) -> bool:
    """Tell from the text of `/proc/cpuinfo` whether the CPU multiplies in BF16 (AMX or AVX512-BF16)."""
    return bool({"amx_bf16", "avx512_bf16"} & set(cpuinfo.split()))

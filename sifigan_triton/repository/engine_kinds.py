"""The kinds of engine: which runtime computes them, in which precision, and which shapes they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Runtime = Literal["openvino", "onnx", "pt", "trt"]
Precision = Literal["fp32", "fp16", "bf16"]
Platform = Literal["wheel", "container"]
PLATFORMS: tuple[Platform, ...] = get_args(Platform)
"""What serves the repository: the server of the wheel, which has the Python backend only, or NVIDIA's container."""


@dataclass(frozen=True)
class RuntimeKind:
    """What the engines of one runtime have in common."""

    static: bool
    """Static windows through the narrowing engine; otherwise utterances of any length through the full-length model."""
    file: str
    """The engine's file in the version folder, the same for both platforms."""
    backend: str
    """Native backend of NVIDIA's container."""


RUNTIMES: dict[Runtime, RuntimeKind] = {
    "openvino": RuntimeKind(True, "model.onnx", "openvino"),
    "trt": RuntimeKind(True, "model.plan", "tensorrt"),
    "onnx": RuntimeKind(False, "model.onnx", "onnxruntime"),
    "pt": RuntimeKind(False, "model.pt", "pytorch"),
}


@dataclass(frozen=True)
class EngineKind:
    """One way to run the engine."""

    runtime: Runtime
    precision: Precision
    """Arithmetic of the weights and activations."""

    @property
    def name(self) -> str:
        """Name on the command line: `<runtime>-<precision>`."""
        return f"{self.runtime}-{self.precision}"

    @property
    def model(self) -> str:
        """Name of the Triton model that is the bare engine."""
        return f"sifigan-{self.name}"

    @property
    def ensemble(self) -> str:
        """Name of the ensemble around this engine, whichever engine is the default."""
        return f"sifigan-ensemble-{self.name}"

    @property
    def first_step(self) -> str:
        """Name of the Triton model that makes its inputs from the features of a request."""
        return "preprocess" if self.static else "preprocess-dynamic"

    @property
    def static(self) -> bool:
        """Whether it takes static windows."""
        return RUNTIMES[self.runtime].static

    @property
    def file(self) -> str:
        """Name of the engine's file."""
        return RUNTIMES[self.runtime].file


_KINDS: tuple[tuple[Runtime, Precision], ...] = (
    ("pt", "fp32"),
    ("pt", "fp16"),
    ("onnx", "fp32"),
    ("onnx", "fp16"),
    ("trt", "fp32"),
    ("trt", "fp16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
)
ENGINES = {kind.name: kind for kind in (EngineKind(*pair) for pair in _KINDS)}

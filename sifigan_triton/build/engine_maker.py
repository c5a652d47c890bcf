"""Makes the file of an engine from a generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preprocess import Settings
from sifigan_triton.build.tensorrt.build import build_plan
from sifigan_triton.files import file_hash
from sifigan_triton.network import export
from sifigan_triton.network.crop_plan import CropPlan
from sifigan_triton.network.generator import Generator
from sifigan_triton.network.precision import DTYPES
from sifigan_triton.repository.engine_kinds import EngineKind

Keep = tuple[str, ...]
OPTIMUM_BATCH = 4
"""Windows in a call for which TensorRT chooses its kernels: 10 s of audio with the default window."""


@dataclass
class EngineMaker:
    """Makes the engines of one voice; an ONNX graph that several of them need is exported once."""

    generator: Generator
    settings: Settings
    plan: CropPlan
    scratch: Path
    """Folder for the graphs."""
    report: Callable[[str], None]
    timing_cache: Path | None = None
    """File in which TensorRT keeps the times of its kernels, so that the next build is shorter."""
    _graphs: dict[tuple[str, Keep], Path] = field(default_factory=dict)

    def make(self, kind: EngineKind, folder: Path, keep_fp32: Keep = ()) -> dict[str, Any]:
        """Write an engine's file into a version folder.

        Args:
            kind: the engine.
            folder: the version folder.
            keep_fp32: groups of layers that stay in FP32.

        Returns:
            Facts for the manifest.

        """
        dtype, path = DTYPES[kind.precision], folder / kind.file
        if kind.runtime == "pt":
            export.export_torchscript(self.generator, self.settings, path, dtype, keep_fp32)
        elif kind.runtime == "onnx":
            export.export_dynamic_onnx(self.generator, self.settings, path, dtype, keep_fp32)
        elif kind.runtime == "openvino":  # computes a graph of FP32 weights in the precision that it is told
            export.export_cpu_onnx(self.generator, self.settings, self.plan, path, kind.precision)
        else:
            return self._make_plan(kind, path, keep_fp32)
        return {}

    def static_graph(self, precision: str, keep_fp32: Keep = ()) -> Path:
        """Return the narrowing engine as an ONNX file."""
        key = (precision, keep_fp32)
        if key not in self._graphs:
            path = self.scratch / f"{'-'.join((precision, *keep_fp32))}.onnx"
            export.export_onnx(self.generator, self.settings, self.plan, path, DTYPES[precision], keep_fp32)
            self._graphs[key] = path
        return self._graphs[key]

    def _make_plan(self, kind: EngineKind, path: Path, keep_fp32: Keep) -> dict[str, Any]:
        graph = self.static_graph(kind.precision, keep_fp32)
        plan = build_plan(
            graph,
            self.settings,
            optimum_batch=min(OPTIMUM_BATCH, self.settings.max_batch_size),
            timing_cache=self.timing_cache,
            report=self.report,
        )
        path.write_bytes(plan.serialized)
        return {"onnx_sha256": file_hash(graph), **plan.machine}

"""Whether an exported engine is TensorRT's: parsed and built with TensorRT-RTX, which needs no GPU for that."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocess.settings import Settings
from sifigan_triton.build.tensorrt.layers import computing, group_names, weight_names
from sifigan_triton.build.tensorrt.library import load_tensorrt_rtx
from sifigan_triton.build.tensorrt.plan import Plan, build_plan
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.export import export_onnx
from sifigan_triton.network.precision import DTYPES

logger = logging.getLogger(__name__)

COMPUTE_CAPABILITY = "SM89"
"""GPU that the check builds for (GeForce RTX 40, L4, L40): any that TensorRT-RTX knows would do."""


@dataclass(frozen=True)
class GraphCheck:
    """What TensorRT-RTX made of one ONNX file."""

    name: str
    """Name of the file without its suffix."""
    layers: int
    """Layers of the parsed network."""
    by_precision: dict[str, int]
    """Of the layers that compute in floating-point, how many in each precision."""
    fp32: dict[str, int]
    """Layers that compute in FP32, counted by where they belong."""
    plan_bytes: int
    seconds: float
    tensorrt_version: str


def check_graph(onnx_file: Path, settings: Settings) -> GraphCheck:
    """Parse and build an exported engine with TensorRT-RTX on the CPU; the plan is thrown away.

    Args:
        onnx_file: the very file that a TensorRT plan is made of.
        settings: constants of the voice and the engine.

    Raises:
        TensorRTError: if TensorRT-RTX is missing or refuses the graph.

    """
    logger.info("%s: building with TensorRT-RTX ...", onnx_file.name)
    return _describe(
        onnx_file, build_plan(onnx_file, settings, load_tensorrt_rtx(), compute_capability=COMPUTE_CAPABILITY)
    )


def check_voice(spec: EngineSpec) -> list[GraphCheck]:
    """Export a voice's FP32 and FP16 graphs and check both.

    Args:
        spec: the voice and the engines' shape.

    Raises:
        TensorRTError: if TensorRT-RTX is missing or refuses a graph.

    """
    load_tensorrt_rtx()  # before the graphs, which take a minute
    checks = []
    with tempfile.TemporaryDirectory(prefix="sifigan-triton-graphs-") as scratch:
        for precision in ("fp32", "fp16"):
            logger.info("exporting the %s graph ...", precision.upper())
            graph = Path(scratch, f"{precision}.onnx")
            export_onnx(spec, graph, DTYPES[precision])
            checks.append(check_graph(graph, spec.settings))
    return checks


def format_checks(checks: Sequence[GraphCheck]) -> str:
    """Return checks side by side as a text table, and below it what stayed FP32 in each but the pure FP32 ones."""
    lines = [f"{'graph':<24}{'layers':>8}{'FP32':>7}{'FP16':>7}{'plan MB':>10}{'against first':>15}{'s':>6}"]
    for check in checks:
        counts = [check.by_precision.get(precision, 0) for precision in ("FP32", "FP16")]
        ratio = f"{check.plan_bytes / checks[0].plan_bytes:.0%}"
        size = f"{check.plan_bytes / 1e6:.1f}"
        lines.append(
            f"{check.name:<24}{check.layers:>8}{counts[0]:>7}{counts[1]:>7}{size:>10}{ratio:>15}{check.seconds:>6.0f}"
        )
    for check in checks:
        if set(check.by_precision) != {"FP32"}:
            lines.append(f"{check.name}: stayed FP32:{'' if check.fp32 else ' nothing'}")
            lines += [f"  {count} x {group}" for group, count in check.fp32.items()]
    lines.append(f"built with TensorRT-RTX {checks[0].tensorrt_version} for {COMPUTE_CAPABILITY}, on the CPU")
    return "\n".join(lines)


def _describe(onnx_file: Path, plan: Plan) -> GraphCheck:
    counts = {precision: len(computing(plan.layers, precision)) for precision in ("FP32", "FP16", "BF16")}
    return GraphCheck(
        name=onnx_file.stem,
        layers=len(plan.layers),
        by_precision={precision: count for precision, count in counts.items() if count},
        fp32=group_names(computing(plan.layers, "FP32"), weight_names(onnx_file)),
        plan_bytes=len(plan.serialized),
        seconds=plan.seconds,
        tensorrt_version=plan.tensorrt_version,
    )

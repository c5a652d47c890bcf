"""Makes engines, judges them, and makes one again with more of it in FP32 where that was asked for."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sifigan_triton.build.gate import (
    Utterance,
    edge_utterance,
    judge_engine,
    read_utterances,
    smaller_window_utterances,
)
from sifigan_triton.build.mixed_precision import GroupNoise, fewest_to_keep, format_groups, measure_groups
from sifigan_triton.build.options import AUTO, BuildError, BuildOptions
from sifigan_triton.build.tensorrt.plan import build_plan
from sifigan_triton.files import file_hash, write_file
from sifigan_triton.network import export
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.precision import DTYPES
from sifigan_triton.quality import Bounds, Verdict
from sifigan_triton.repository.engine_kinds import EngineKind
from sifigan_triton.repository.runtimes.sized_engine import window_sizes

logger = logging.getLogger(__name__)

Keep = tuple[str, ...]
TIMING_CACHE = ".tensorrt-timing.cache"
"""File beside the model repository where TensorRT keeps the times of its kernels: the next build is shorter."""
OPTIMUM_BATCH = 4
"""Windows in a call for which TensorRT chooses its kernels: 10 s of audio with the default window."""


class GateError(BuildError):
    """An engine failed the quality gate."""

    def __init__(self, message: str, snr_db: float | None) -> None:
        """Take the message and the engine's signal-to-noise ratio in dB, None where samples are not finite."""
        super().__init__(message)
        self.snr_db = snr_db


@dataclass
class EngineMaker:
    """Makes the files of one voice's engines; an ONNX graph that several of them need is exported once."""

    spec: EngineSpec
    scratch: Path
    """Folder for the graphs."""
    timing_cache: Path | None = None
    """See `TIMING_CACHE`."""
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
            export.export_torchscript(self.spec, path, dtype, keep_fp32)
        elif kind.runtime == "onnx":
            export.export_dynamic_onnx(self.spec, path, dtype, keep_fp32)
        elif kind.runtime == "openvino":  # computes a graph of FP32 weights in the precision that it is told
            for size in window_sizes(self.spec.window):
                place = folder if size == self.spec.window else folder / str(size)
                place.mkdir(exist_ok=True)
                export.export_cpu_onnx(replace(self.spec, window=size), place / kind.file, kind.precision)
        else:
            return self._make_plan(kind, path, keep_fp32)
        return {}

    def _make_plan(self, kind: EngineKind, path: Path, keep_fp32: Keep) -> dict[str, Any]:
        graph, settings = self._static_graph(kind.precision, keep_fp32), self.spec.settings
        optimum = min(OPTIMUM_BATCH, settings.max_batch_size)
        plan = build_plan(graph, settings, optimum_batch=optimum, timing_cache=self.timing_cache)
        write_file(path, plan.serialized)
        return {"onnx_sha256": file_hash(graph), **plan.machine}

    def _static_graph(self, precision: str, keep_fp32: Keep) -> Path:
        """Return the narrowing engine as an ONNX file."""
        key = (precision, keep_fp32)
        if key not in self._graphs:
            path = self.scratch / f"{'-'.join((precision, *keep_fp32))}.onnx"
            export.export_onnx(self.spec, path, DTYPES[precision], keep_fp32)
            self._graphs[key] = path
        return self._graphs[key]


@dataclass
class EngineBuilder:
    """Builds the engines of one voice, each through the quality gate."""

    options: BuildOptions
    maker: EngineMaker
    _utterances: list[Utterance] | None = None

    def build(self, kind: EngineKind, folder: Path) -> dict[str, Any]:
        """Make an engine in a version folder.

        Returns:
            Facts for the manifest, the figures of the quality gate among them.

        Raises:
            GateError: if it fails the quality gate, with the figures and the fix.

        """
        keep = self.options.keep_fp32 if kind.precision == "fp16" else ()
        if keep != AUTO:
            assert not isinstance(keep, str)
            return self._build(kind, folder, keep)
        return self._build_mixed(kind, folder)

    def _build_mixed(self, kind: EngineKind, folder: Path) -> dict[str, Any]:
        """Keep as few groups of layers in FP32 as the gate needs, the noisiest first.

        How much noise a runtime makes, against what was measured of the groups, is learnt from each engine that fails.
        """
        groups, bound, kept = self._measure(kind), self.options.bounds_of(kind).snr_db, 0
        while True:
            names = tuple(group.name for group in groups[:kept])
            logger.info("%s: keeping in FP32: %s", kind.model, ", ".join(names) or "nothing")
            logger.debug("%s", format_groups(groups, names))
            try:
                return self._build(kind, folder, names)
            except GateError as error:
                if kept == len(groups) - 1:
                    raise
                logger.info("%s: fails the quality gate, next with more in FP32", kind.model)
                wanted = fewest_to_keep(groups, bound, kept, error.snr_db)
                kept = max(kept + 1, min(wanted, len(groups) - 1))

    def _build(self, kind: EngineKind, folder: Path, keep: Keep) -> dict[str, Any]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        logger.info("%s: making the engine ...", kind.model)
        facts = self.maker.make(kind, folder, keep)
        bounds = self.options.bounds_of(kind)
        edges = [edge_utterance(self.maker.spec)]
        if kind.runtime == "openvino":
            edges += smaller_window_utterances(self.maker.spec)
        verdict = self._judge(kind, folder, edges, Bounds(snr=bounds.snr), seeded=True)
        if kind.precision != "fp32" and self.options.gate_data:
            verdict = self._judge(kind, folder, self._gate_utterances(), bounds, seeded=False)
        logger.info(
            "%s: passed the quality gate, %.1f dB SNR against the full-length FP32 generator (at least %g dB)",
            kind.model,
            verdict.overall["snr"],
            bounds.snr_db,
        )
        return {**facts, "kept_in_fp32": list(keep), "quality": verdict.as_dict()}

    def _judge(
        self, kind: EngineKind, folder: Path, utterances: list[Utterance], bounds: Bounds, seeded: bool
    ) -> Verdict:
        verdict = judge_engine(kind, folder, self.maker.spec, utterances, bounds, seeded)
        if not verdict.passed:
            raise GateError(
                f"{kind.model} fails the quality gate and is not published; an engine that is there stays.\n"
                f"{verdict.table()}\n{_fix(kind, self.options.keep_fp32)}",
                verdict.overall["snr"],
            )
        logger.debug("%s against the full-length FP32 generator:\n%s", kind.model, verdict.table())
        return verdict

    def _measure(self, kind: EngineKind) -> list[GroupNoise]:
        logger.info("%s: measuring each group of layers alone in %s ...", kind.model, kind.precision.upper())
        utterance = min(self._gate_utterances(), key=lambda u: abs(u.f0.size - 600))  # some 3 s say enough
        return measure_groups(self.maker.spec, utterance, DTYPES[kind.precision])

    def _gate_utterances(self) -> list[Utterance]:
        if self._utterances is None:
            self._utterances = read_utterances(self.options.gate_data, self.maker.spec)
        return self._utterances


def _fix(kind: EngineKind, keep_fp32: Keep | str) -> str:
    loosen = f"loosen a bound knowingly, for this engine alone: --engine {kind.name} --bound"
    if kind.precision == "fp16":
        return f"{'' if keep_fp32 == AUTO else 'keep what costs most in FP32: --keep-fp32 auto; or '}{loosen} snr=45"
    if kind.precision == "bf16":
        return f"use openvino-fp32, or {loosen} snr=38"
    return "this is a defect of the export, please report it with the voice's voice.json"

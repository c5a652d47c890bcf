"""Makes one engine, judges it, and makes it again with more of it in FP32 where that was asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sifigan_triton.build.engine_maker import EngineMaker, Keep
from sifigan_triton.build.gate import Utterance, edge_utterance, judge_engine, read_utterances
from sifigan_triton.build.mixed_precision import GroupNoise, fewest_to_keep, format_groups, measure_groups
from sifigan_triton.build.options import AUTO, BuildError, BuildOptions
from sifigan_triton.network.precision import DTYPES
from sifigan_triton.quality import Bounds, Verdict
from sifigan_triton.repository.engine_kinds import EngineKind


class GateError(BuildError):
    """An engine failed the quality gate."""

    def __init__(self, message: str, snr_db: float | None) -> None:
        """Take the message and the engine's signal-to-noise ratio in dB, None where samples are not finite."""
        super().__init__(message)
        self.snr_db = snr_db


@dataclass
class EngineBuilder:
    """Builds the engines of one voice, each through the quality gate."""

    options: BuildOptions
    maker: EngineMaker
    report: Callable[[str], None]
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
            self.report(f"{kind.model}:\n{format_groups(groups, names)}")
            try:
                return self._build(kind, folder, names)
            except GateError as error:
                if kept == len(groups) - 1:
                    raise
                self.report(f"{kind.model} fails the quality gate with {kept} groups in FP32: more of them ...")
                wanted = fewest_to_keep(groups, bound, kept, error.snr_db)
                kept = max(kept + 1, min(wanted, len(groups) - 1))

    def _build(self, kind: EngineKind, folder: Path, keep: Keep) -> dict[str, Any]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.report(f"{kind.model}: making the engine ...")
        facts = self.maker.make(kind, folder, keep)
        edges = [edge_utterance(self.maker.generator, self.maker.settings)]
        bounds = self.options.bounds_of(kind)
        verdict = self._judge(kind, folder, edges, Bounds(snr=bounds.snr))  # seeded features are no voice
        if kind.precision != "fp32" and self.options.gate_data:
            verdict = self._judge(kind, folder, self._gate_utterances(), bounds)
        return {**facts, "kept_in_fp32": list(keep), "quality": verdict.as_dict()}

    def _judge(self, kind: EngineKind, folder: Path, utterances: list[Utterance], bounds: Bounds) -> Verdict:
        verdict = judge_engine(kind, folder, utterances, self.maker.settings, bounds, self.report)
        if not verdict.passed:
            raise GateError(
                f"{kind.model} fails the quality gate and is not published; an engine that is there stays.\n"
                f"{verdict.table()}\n{_fix(kind, self.options.keep_fp32)}",
                verdict.overall["snr"],
            )
        self.report(f"{kind.model} against the full-length FP32 generator:\n{verdict.table()}")
        return verdict

    def _measure(self, kind: EngineKind) -> list[GroupNoise]:
        self.report(f"{kind.model}: measuring each group of layers alone in {kind.precision.upper()} ...")
        maker = self.maker
        utterance = min(self._gate_utterances(), key=lambda u: abs(u.f0.size - 600))  # some 3 s say enough
        return measure_groups(maker.generator, utterance, maker.settings.voice, maker.plan, DTYPES[kind.precision])

    def _gate_utterances(self) -> list[Utterance]:
        if self._utterances is None:
            self._utterances = read_utterances(self.options.gate_data, self.maker.generator, self.maker.settings)
        return self._utterances


def _fix(kind: EngineKind, keep_fp32: Keep | str) -> str:
    loosen = f"loosen a bound knowingly, for this engine alone: --engine {kind.name} --bound"
    if kind.precision == "fp16":
        return f"{'' if keep_fp32 == AUTO else 'keep what costs most in FP32: --keep-fp32 auto; or '}{loosen} snr=45"
    if kind.precision == "bf16":
        return f"use openvino-fp32, or {loosen} snr=38"
    return "this is a defect of the export, please report it with the voice's voice.json"

"""Table: what reduced precision does to a trained voice, by all metrics of the quality gate.

    python -m benchmarks.precision_quality [--voice voices/demo]

The full-length generator in PyTorch on the two recordings: FP16 with the sums of convolutions in FP32, as on matrix
units (`network.precision`); BF16 emulated (`benchmarks/bf16.py`), with BF16 operands of the convolutions and
with BF16 throughout. Each judged against the FP32 generator by the bounds of its precision.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch

from benchmarks.bf16 import Bf16
from benchmarks.tracks import DATA
from sifigan_triton.build.gate import Utterance, read_utterances
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.generator import Generator
from sifigan_triton.network.precision import WideSums, in_precision
from sifigan_triton.quality import Pair, Verdict, bounds_for, judge
from sifigan_triton.voice.folder import load_voice

METRICS = {"snr": 1, "visqol": 3, "mcd": 3, "envelope": 3, "log_f0": 4, "vuv": 2}
"""Metric and decimals shown."""

Context = Callable[[], AbstractContextManager[object]]


def judged(generator: Generator, context: Context, precision: str, utterances: list[Utterance]) -> Verdict:
    """Run a generator within a context and judge what it made."""
    pairs = []
    for utterance in utterances:
        with context(), torch.no_grad():
            waveform = generator(*(torch.from_numpy(x)[None] for x in utterance.inputs))[0, 0].float().numpy()
        pairs.append(Pair(utterance.name, utterance.f0, utterance.reference, np.asarray(waveform)))
    return judge(pairs, precision, bounds_for(precision))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, default=Path("voices/demo"))
    args = parser.parse_args()
    voice, generator = load_voice(args.voice)
    files = [DATA / "long.json", DATA / "frames-627.json"]
    utterances = read_utterances(files, EngineSpec(voice, generator))
    half = in_precision(generator, torch.float16, ())
    cases: list[tuple[str, Generator, Context, str]] = [
        ("FP16, FP32 sums", half, WideSums, "fp16"),
        ("BF16 operands, FP32 sums (emulated)", generator, Bf16, "bf16"),
        ("BF16 throughout (emulated)", generator, lambda: Bf16(everywhere=True), "bf16"),
    ]
    print(f"| arithmetic | {' | '.join(METRICS)} | gate |")
    print(f"| --- |{' ---: |' * len(METRICS)} --- |")
    for name, model, context, precision in cases:
        verdict = judged(model, context, precision, utterances)
        cells = [
            "-" if (value := verdict.overall[metric]) is None else f"{value:.{digits}f}"
            for metric, digits in METRICS.items()
        ]
        print(f"| {name} | {' | '.join(cells)} | {'passes' if verdict.passed else 'fails'} |", flush=True)


if __name__ == "__main__":
    main()

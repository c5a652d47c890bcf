"""What `sifigan-triton compare` does: read two audio files and judge them; `main.py` parses its options."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sifigan_triton.features.audio import AudioError, read_waveform
from sifigan_triton.features.features import Features
from sifigan_triton.files import atomic_file
from sifigan_triton.quality.bounds import Bounds, bounds_for, parse_bounds
from sifigan_triton.quality.method import Method
from sifigan_triton.quality.pair import SAMPLE_RATE, Pair, QualityError
from sifigan_triton.quality.verdict import Verdict, judge


def compare(args: argparse.Namespace) -> Verdict:
    """Compare two audio files.

    Args:
        args: `reference`, `test`, `mode`, `precision`, `bound` (list or None), `features`, `range_db`, `json`.

    Returns:
        The verdict; the JSON file is written, whether bounds are broken or not.

    Raises:
        AudioError: if a file cannot be read.
        QualityError: if the files cannot be compared, or a bound is not understood.

    """
    changes = parse_bounds(args.bound)
    bounds = Bounds(**changes) if args.precision is None else bounds_for(args.precision, changes)
    if args.mode == "recording" and bounds.snr is not None:
        raise QualityError(
            "a bound on the SNR has no meaning in recording mode: leave out --precision, and give other bounds with "
            "--bound, as in --bound visqol=4"
        )
    if args.mode == "recording" and args.features is not None:
        raise QualityError("--features gives the F0 of both waveforms of a parity comparison: leave it out")
    reference, test = (_read(path) for path in (args.reference, args.test))
    f0 = None if args.features is None else Features.load(args.features).f0
    method = Method(mode=args.mode, range_db=args.range_db)
    verdict = judge(
        [Pair(f"{args.reference.name} -> {args.test.name}", f0, reference, test)], args.precision, bounds, method=method
    )
    if args.json is not None:
        with atomic_file(args.json) as file:
            file.write(json.dumps(verdict.as_dict(), indent=2, allow_nan=False).encode() + b"\n")
    return verdict


def _read(path: Path) -> NDArray[np.float64]:
    """Read an audio file of the rate of the metrics; any other is refused, since resampling changes what is measured.

    Raises:
        AudioError: naming the file, if it is missing, unreadable or of another rate.

    """
    waveform, rate = read_waveform(path)
    if rate != SAMPLE_RATE:
        raise AudioError(
            f"{path}: sample rate is {rate:,} Hz, expected {SAMPLE_RATE:,} Hz, the rate of the metrics: resample both "
            f"files in the same way, such as with sox {path.name} -r {SAMPLE_RATE} {path.stem}_24k.wav"
        )
    return waveform

"""Table: reduced precision against FP32, and whether a seam between windows can be measured.

    python -m benchmarks.reduced_precision [--window 128] [--f0-floor 100]

BF16: emulated (`benchmarks/bf16.py`) on the graph of `openvino-bf16`, with BF16 operands of the products and with BF16
throughout; and OpenVINO in BF16 where the CPU computes in it. FP16: the exported FP16 graph in ONNX Runtime. Rounded
factors: FP32, with the dilation factors rounded to FP16 before the tap offsets are made, which is what feeding them to
an FP16 engine does.

Seam: the jump of the error from one sample to the next, RMS over the seams between windows, divided by the RMS over all
samples; 1 means that a seam is no worse than any other place.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import torch

from benchmarks.bf16 import Bf16
from benchmarks.engine_cost import openvino_runner
from benchmarks.tracks import Array, full_length, track_request
from preprocess import Settings, Windows, preprocess
from preprocess.f0 import continuous_f0
from preprocess.names import STATIC_INPUTS
from sifigan_triton.network.engine_spec import EngineSpec
from sifigan_triton.network.export import export_cpu_onnx, export_onnx, run_onnx
from sifigan_triton.network.narrowing_engine import NarrowingEngine
from sifigan_triton.network.time_major_engine import TimeMajorEngine
from sifigan_triton.quality import snr_db
from sifigan_triton.voice.folder import load_voice


def run_torch(engine: NarrowingEngine, windows: Windows) -> Array:
    """Run an engine in PyTorch, window by window."""
    outputs = [
        engine(*(torch.from_numpy(getattr(windows, name)[i : i + 1]) for name in STATIC_INPUTS)).numpy()
        for i in range(len(windows.bounds))
    ]
    return np.concatenate(outputs)


def round_factors(windows: Windows, f0: Array, settings: Settings) -> Windows:
    """Return the windows with tap offsets made from dilation factors rounded to FP16."""
    voice = settings.voice
    cf0 = continuous_f0(f0)
    cf0[cf0 == 0.0] = voice.sample_rate
    factors = np.stack([(voice.sample_rate / dense / cf0).astype(np.float16) for dense in voice.dense_factors])
    rows = [factors[stage].astype(np.float32) * dilation for stage, dilation in voice.generator.pitch_dependent_convs]
    offsets = np.maximum(np.stack(rows).astype(np.int32), 1)
    exact = windows.offsets.copy()
    for index, (first, last) in enumerate(windows.bounds):
        low, high = max(first, 0), min(last, exact.shape[2])
        exact[index, :, low:high] = offsets[:, low - first : high - first]
    return replace(windows, offsets=exact)


def seam(reference: Array, output: Array, window_samples: int) -> float:
    """Return the jump of the error at the seams against the jump anywhere, as a ratio of RMS values."""
    jump = np.diff(reference.astype(np.float64) - output)
    at = np.arange(window_samples, reference.size, window_samples) - 1
    return float(np.sqrt(np.mean(jump[at] ** 2) / np.mean(jump**2)))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, default=Path("voices/random"))
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--f0-floor", type=float, default=100.0)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    voice, generator = load_voice(args.voice)
    spec = EngineSpec(voice, generator, args.window, args.f0_floor)
    plan, settings = spec.plan, spec.settings
    engine = NarrowingEngine(generator, voice, plan)
    time_major = TimeMajorEngine(generator, voice, plan, None)
    print("| F0 track | engine | SNR dB | seam |")
    print("| --- | --- | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder, "fp16.onnx")
        export_onnx(spec, half, torch.float16)
        bf16 = None
        if "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            bf16 = Path(folder, "bf16.onnx")
            export_cpu_onnx(spec, bf16, "bf16")
        for track in ("floor", "recordings", "glide"):
            request = track_request(track, 5 * args.window + 17, args.f0_floor)
            reference = full_length(request, voice, generator)
            windows = preprocess(request.f0, request.mcep, request.bap, settings)
            outputs = {"FP32": run_torch(engine, windows)}
            with Bf16():
                outputs["BF16 operands"] = run_torch(time_major, windows)
            with Bf16(everywhere=True):
                outputs["BF16 throughout"] = run_torch(time_major, windows)
            outputs["FP16 (ONNX Runtime)"] = run_onnx(half, windows)
            if bf16 is not None:
                inputs = {name: getattr(windows, name) for name in STATIC_INPUTS}
                outputs["BF16 (OpenVINO)"] = openvino_runner(bf16, inputs, "bf16")()[0]
            outputs["FP32, rounded factors"] = run_torch(engine, round_factors(windows, request.f0, settings))
            for name, output in outputs.items():
                joined = output.reshape(-1)[: reference.size]
                ratio = seam(reference, joined, args.window * voice.hop_size)
                print(f"| {track} | {name} | {snr_db(reference, joined):.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()

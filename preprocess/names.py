"""Names of the tensors that `preprocess` and the engines take and give: every config, adapter and export uses these.

What `postprocess` takes and gives is named there: each of the two packages has to work alone.
"""

from __future__ import annotations

F0, MCEP, BAP = "f0", "mcep", "bap"
F0_FACTOR, SEED, REPAIR = "f0_factor", "seed", "repair"
RANGE, PHASE, VOICED_AROUND = "range", "phase", "voiced_around"
NEXT_PHASE = "next_phase"
"""Where the sine has come at the end of a range: an output, beside the audio."""

EXCITATION, FEATURES, OFFSETS, BOUNDS = "excitation", "features", "offsets", "bounds"
DYNAMIC_INPUTS = (EXCITATION, FEATURES, OFFSETS)
"""Inputs of an engine for any length, in order."""
STATIC_INPUTS = (*DYNAMIC_INPUTS, BOUNDS)
"""Inputs of an engine of static windows, in order: the fields of `Windows`."""
ENGINE_OUTPUT = "waveform"

SAMPLES = "samples"
"""Length of the waveform, which `preprocess` tells `postprocess`."""
FIRST_SAMPLE = "first_sample"
"""Where the waveform begins in what an engine for any length made."""
WANTED = "wanted"
"""How many frames of each window somebody wants."""
DEADLINE = "deadline"
"""When nobody waits for the answer any more, for the steps behind `preprocess`."""

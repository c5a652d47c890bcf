"""Names of the tensors that `preprocess` and the engines take and give: every config, adapter and export uses these.

What `postprocess` takes and gives is named there: each of the two packages has to work alone.
"""

from __future__ import annotations

F0, MCEP, BAP = "f0", "mcep", "bap"
F0_FACTOR, SEED, REPAIR = "f0_factor", "seed", "repair"

EXCITATION, FEATURES, OFFSETS, BOUNDS = "excitation", "features", "offsets", "bounds"
DYNAMIC_INPUTS = (EXCITATION, FEATURES, OFFSETS)
"""Inputs of an engine for any length, in order."""
STATIC_INPUTS = (*DYNAMIC_INPUTS, BOUNDS)
"""Inputs of an engine of static windows, in order: the fields of `Windows`."""
ENGINE_OUTPUT = "waveform"

SAMPLES = "samples"
"""Length of the waveform, which `preprocess` tells `postprocess`."""
DEADLINE = "deadline"
"""When nobody waits for the answer any more, for the steps behind `preprocess`."""

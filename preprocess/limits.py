"""Limits of the constants that a voice may have, and the checks that hold them.

They are far above every voice of the public recipes, and low enough that building a network of them ends.
"""

from __future__ import annotations

import math
import reprlib
from typing import Any

MAX_VOICE_BYTES = 2**18
"""Largest `voice.json`, in bytes; a real one has some 4,000."""
MAX_TEXT = 1000
"""Longest text in a voice, in characters: a name, a line of the provenance."""
MAX_FEATURES = 1024
"""Largest width of the features; 43 in the public recipe."""
MAX_CHANNELS = 2048
"""Most channels of a generator, four times the public recipe's."""
MAX_KERNEL = 63
"""Widest kernel, in taps; the public recipe has 7."""
MAX_LAYERS = 16
"""Most entries of a list of scales, kernels or dilations; the public recipe has 4. Each is a layer of the network."""
MAX_DILATION = 512
"""Widest dilation, in taps; the public recipe has 8. Every window of an engine carries it as context."""
MAX_SCALE = 64
"""Largest up-sampling scale of one stage; the public recipe has 5."""
MAX_HOP = 4096
"""Most samples a frame; the public recipe has 120."""
SAMPLE_RATES = (8000, 192000)
"""Lowest and highest sample rate of a voice, in Hz."""
DENSE_FACTORS = (0.1, 64.0)
"""Least and most taps in a pitch period; the public recipe has 0.5 to 8. At 0 a tap would lie at infinity, and at 1e-9
farther than any window reaches."""
F0_HZ = (10.0, 5000.0)
"""Lowest and highest F0 that an analysis may look for, in Hz: WORLD's transforms grow with the period."""
MAX_HIGHPASS_HZ = 2000.0
"""Highest cut-off in front of the analysis, in Hz; it must stay below half of every sample rate."""
MAX_ALPHA = 0.99
"""Largest all-pass constant; at 1 the warping has no inverse."""
MAX_MEAN = 1e6
"""Largest mean of a feature, either sign: what FP32 holds with digits to spare."""
SCALES = (1e-6, 1e6)
"""Smallest and largest scale of a feature: normalised features stay within FP32."""

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxother, _SHORT.maxstring = 3, 60, 60


class VoiceError(ValueError):
    """A voice file is missing, malformed or inconsistent."""


def refuse(key: str, fault: str | None) -> None:
    """Raise what a check of this constant found, if it found anything.

    Raises:
        VoiceError: naming the constant, what was got and what was expected.

    """
    if fault is not None:
        raise VoiceError(f"{key} {fault}")


def shown(value: Any) -> str:
    """Return a value as a message shows it: at most 60 characters, whatever is inside."""
    if isinstance(value, int) and value.bit_length() > 64:  # writing out a long one is slow, or refused by Python
        return f"a number of {value.bit_length():,} bits"
    try:
        text = _SHORT.repr(value)
    except ValueError:  # such a number inside
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


def whole_fault(value: Any, lowest: int, highest: int) -> str | None:
    """Say what is wrong with what should be a whole number in this range; None if nothing is."""
    if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest:
        return None
    return f"is {shown(value)}, expected a whole number from {lowest:,} to {highest:,}"


def number_fault(value: Any, lowest: float, highest: float) -> str | None:
    """Say what is wrong with what should be a finite number in this range; None if nothing is."""
    if isinstance(value, int | float) and not isinstance(value, bool) and lowest <= value <= highest:
        return None if math.isfinite(value) else f"is {value}, expected a finite number"
    return f"is {shown(value)}, expected a number from {lowest:g} to {highest:g}"


def wholes_fault(value: Any, highest: int) -> str | None:
    """Say what is wrong with what should be a short tuple of whole numbers above zero; None if nothing is."""
    if not isinstance(value, tuple) or not value:
        return f"is {shown(value)}, expected a list of whole numbers"
    if len(value) > MAX_LAYERS:
        return f"has {len(value):,} entries, expected at most {MAX_LAYERS}"
    faults = (whole_fault(entry, 1, highest) for entry in value)
    return next((fault for fault in faults if fault), None)

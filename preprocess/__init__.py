"""Features -> excitation, offsets and windows. NumPy only, so that the package can be staged into a Triton model."""

from .interfaces import interface_of
from .older_tensors import preprocess_tensors
from .pipeline import condition, preprocess
from .repair import Repair
from .settings import Settings
from .validate import Reason, RequestError
from .voice import Voice
from .windows import Windows

__all__ = [
    "Reason",
    "Repair",
    "RequestError",
    "Settings",
    "Voice",
    "Windows",
    "condition",
    "interface_of",
    "preprocess",
    "preprocess_tensors",
]

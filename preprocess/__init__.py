"""Features -> excitation, offsets and windows. NumPy only, so that the package can be staged into a Triton model."""

from preprocess.older_tensors import preprocess_tensors
from preprocess.pipeline import condition, preprocess
from preprocess.repair import Repair
from preprocess.settings import Settings
from preprocess.validate import RequestError
from preprocess.voice import Voice
from preprocess.windows import Windows

__all__ = ["Repair", "RequestError", "Settings", "Voice", "Windows", "condition", "preprocess", "preprocess_tensors"]

"""Windows -> waveform. NumPy only, so that the package can be staged into a Triton model."""

from .merge import merge, to_pcm16
from .outputs import make_outputs

__all__ = ["make_outputs", "merge", "to_pcm16"]

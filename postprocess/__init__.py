"""Windows -> waveform. NumPy only, so that the package can be staged into a Triton model."""

from .merge import merge, to_pcm16

__all__ = ["merge", "to_pcm16"]

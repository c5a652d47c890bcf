"""Windows -> waveform. NumPy only, so that the package can be staged into a Triton model."""

from postprocess.merge import merge, to_pcm16

__all__ = ["merge", "to_pcm16"]

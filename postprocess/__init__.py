"""Windows -> waveform. NumPy only, so that the package can be staged into a Triton model."""

from .merge import SoundError, WindowsError, merge, to_pcm16
from .outputs import make_outputs

__all__ = ["SoundError", "WindowsError", "make_outputs", "merge", "to_pcm16"]

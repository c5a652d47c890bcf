"""SiFi-GAN on NVIDIA Triton: one call, any length, static-shape engines."""

__version__ = "0.1.0"

"""A Triton server on this machine."""

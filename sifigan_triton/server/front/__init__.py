"""The front: the proxy that callers reach in Triton's place."""

from sifigan_triton.server.front.config import Limits, Ports
from sifigan_triton.server.front.envoy import Front

__all__ = ["Front", "Limits", "Ports"]

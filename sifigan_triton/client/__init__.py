"""Client of a server that serves the ensemble: needs NumPy, and `tritonclient[grpc]` for gRPC."""

from sifigan_triton.client.async_sifigan_client import AsyncSifiganClient
from sifigan_triton.client.errors import (
    FeaturesError,
    ServerUnavailableError,
    SharedMemoryError,
    SynthesisError,
    SynthesisTimeoutError,
)
from sifigan_triton.client.feature_stream import AsyncFeatureStream, FeatureStream
from sifigan_triton.client.sifigan_client import SifiganClient
from sifigan_triton.client.step_statistics import StepStatistics
from sifigan_triton.client.stream import Chunk

__all__ = [
    "AsyncFeatureStream",
    "AsyncSifiganClient",
    "Chunk",
    "FeatureStream",
    "FeaturesError",
    "ServerUnavailableError",
    "SharedMemoryError",
    "SifiganClient",
    "StepStatistics",
    "SynthesisError",
    "SynthesisTimeoutError",
]

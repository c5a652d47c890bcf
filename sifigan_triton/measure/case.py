"""What is measured: a model under a load, and what one slice of the run saw of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from sifigan_triton.client.step_statistics import StepStatistics
from sifigan_triton.measure.load import Sample
from sifigan_triton.measure.workload import Workload
from sifigan_triton.repository.engine_kinds import EngineKind

BenchmarkProtocol = Literal["http", "grpc", "grpc-shm", "grpc-cuda"]
PROTOCOLS: tuple[BenchmarkProtocol, ...] = get_args(BenchmarkProtocol)
"""`shm`: over gRPC with the tensors in system shared memory, `cuda`: in the GPU's."""
IN_PROCESS: Literal["in-process"] = "in-process"


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    kind: EngineKind
    workload: Workload
    protocol: BenchmarkProtocol | Literal["in-process"]
    """How the engine's ensemble is asked; "in-process": the bare engine on the same windows, without a server."""
    clients: int = 1
    """Requests in flight."""
    utilization: float | None = None
    """Poisson arrivals at this share of the rate that one client reaches; None: each client waits for its answer."""

    @property
    def load(self) -> str:
        """Name of the load."""
        return str(self.clients) if self.utilization is None else f"Poisson {self.utilization:g}"

    @property
    def name(self) -> str:
        """Name of the case, for progress and messages."""
        return f"{self.kind.name}, {self.workload.name} frames, {self.protocol}, load {self.load}"


@dataclass(frozen=True)
class Slice:
    """What one round saw of a case."""

    samples: tuple[Sample, ...]
    steps: Mapping[str, StepStatistics]
    """What the server's models did meanwhile; empty in-process."""
    cpu_s: float
    """CPU seconds of the server's processes."""
    memory_bytes: int
    """Memory of the server's processes at the end."""

    @property
    def seconds(self) -> float:
        """From the first request to the last answer."""
        return max(s.answered_s for s in self.samples) - min(s.scheduled_s for s in self.samples)

    @property
    def frames(self) -> int:
        """Frames that were asked for."""
        return sum(sample.frames for sample in self.samples)

"""One row of a benchmark: what is measured, what each round saw of it, and the figures over all rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from sifigan_triton.client.step_statistics import StepStatistics, step_order
from sifigan_triton.measure.load import Sample
from sifigan_triton.measure.workload import Workload
from sifigan_triton.repository.engine_kinds import EngineKind

BenchmarkProtocol = Literal["http", "grpc", "grpc-shm", "grpc-cuda"]
"""`shm`: over gRPC with the tensors in system shared memory, `cuda`: in the GPU's."""
IN_PROCESS: Literal["in-process"] = "in-process"
PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Case:
    """A model under a load."""

    model: str
    """What is asked: an ensemble of the server, as a rule."""
    workload: Workload
    protocol: BenchmarkProtocol | Literal["in-process"]
    """How it is asked; "in-process": its bare engine computes the same windows, without a server."""
    clients: int = 1
    """Requests in flight."""
    utilization: float | None = None
    """Poisson arrivals at this share of the rate that one client reaches; None: each client waits for its answer."""
    kind: EngineKind | None = None
    """The engine of the ensemble, where its bare run stands beside."""

    @property
    def load(self) -> str:
        """Name of the load."""
        return str(self.clients) if self.utilization is None else f"Poisson {self.utilization:g}"

    @property
    def label(self) -> str:
        """Name of the model in the table: its engine's, where that is known."""
        return self.model if self.kind is None else self.kind.name

    @property
    def name(self) -> str:
        """Name of the case, for progress and messages."""
        return f"{self.label}, {self.workload.name} frames, {self.protocol}, load {self.load}"


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
    def frames(self) -> float:
        """Frames that were asked for."""
        return sum(sample.frames for sample in self.samples)


@dataclass(frozen=True)
class Spread:
    """The median over the rounds, the smallest and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise the values of the rounds."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}-{self.high:.3g})"


@dataclass(frozen=True)
class StepTime:
    """Mean times of one step of the ensemble in a request."""

    queue_ms: float
    compute_ms: float
    """Gathering of inputs and handing out of outputs included."""
    batch: float | None
    """Requests in a call of the model; None where the model counts itself: it may compute parts of several at once."""


class Row:
    """A case and what its rounds saw."""

    def __init__(
        self,
        case: Case,
        slices: Sequence[Slice],
        comparison: Sequence[Slice] | None,
        seconds: float,
        window: int | None,
    ) -> None:
        """Summarise.

        Args:
            case: what was measured.
            slices: one a round.
            comparison: the slices of the bare engine in the same rounds, if it ran.
            seconds: seconds of audio a frame.
            window: frames that a window of the engine yields; None for a dynamic engine.

        """
        self.case, self._slices, self._comparison = case, slices, comparison
        self._seconds, self._window = seconds, window

    @property
    def requests_per_second(self) -> Spread:
        """Requests answered a second."""
        return self._spread(lambda one: len(one.samples) / one.seconds)

    @property
    def audio_seconds_per_second(self) -> Spread:
        """Seconds of audio made a second, all clients together."""
        return self._spread(lambda one: one.frames * self._seconds / one.seconds)

    @property
    def real_time_factor(self) -> float:
        """Median latency a second of the request's audio."""
        return float(np.median([s.latency_s / (s.frames * self._seconds) for s in self._samples]))

    @property
    def latency_ms(self) -> dict[str, float]:
        """Percentiles of the latency, from when a request was due, over the requests of all rounds."""
        values = np.percentile([1e3 * sample.latency_s for sample in self._samples], PERCENTILES)
        return {f"p{name}": float(value) for name, value in zip(PERCENTILES, values, strict=True)}

    @property
    def against_bare(self) -> Spread | None:
        """Throughput against that of the bare engine in the same round; None without one."""
        if self._comparison is None:
            return None
        rates = [one.frames / one.seconds for one in self._slices]
        bare = [one.frames / one.seconds for one in self._comparison]
        return Spread.of([rate / other for rate, other in zip(rates, bare, strict=True)])

    @property
    def steps(self) -> dict[str, StepTime]:
        """Mean times of each model in a request, in the order of the ensemble."""
        times = {}
        for name in sorted({name for one in self._slices for name in one.steps}, key=step_order):
            done = [one.steps[name] for one in self._slices if name in one.steps]
            requests = sum(step.requests for step in done)
            queue_ms = 1e3 * sum(step.queue_s for step in done) / requests
            compute_ms = 1e3 * sum(step.seconds + step.copy_s for step in done) / requests
            executions = sum(step.executions for step in done)
            times[name] = StepTime(queue_ms, compute_ms, requests / executions if executions else None)
        return times

    @property
    def parts(self) -> dict[str, StepTime]:
        """The same by what each model is: preprocess, engine, postprocess."""
        return {part_of(name): step for name, step in self.steps.items()}

    @property
    def outside_engine(self) -> float | None:
        """Share of the mean latency in which a request neither waited for the engine nor was computed by it."""
        engine = self.parts.get("engine")
        if engine is None:
            return None
        mean_ms = 1e3 * statistics.fmean(sample.latency_s for sample in self._samples)
        return 1.0 - (engine.queue_ms + engine.compute_ms) / mean_ms

    @property
    def computed_per_asked(self) -> float | None:
        """Frames that the engine yielded for one that was asked for, by the server's own count."""
        done = [step for one in self._slices for name, step in one.steps.items() if part_of(name) == "engine"]
        if not any(step.inferences for step in done):
            return None
        if self._window is None:
            return 1.0
        computed = sum(step.frames or step.inferences * self._window for step in done)
        return computed / sum(one.frames for one in self._slices)

    @property
    def cpu_per_audio_second(self) -> float:
        """CPU seconds of the server a second of audio."""
        return sum(one.cpu_s for one in self._slices) / (sum(one.frames for one in self._slices) * self._seconds)

    @property
    def memory_bytes(self) -> int:
        """Largest memory of the server's processes at the end of a round."""
        return max(one.memory_bytes for one in self._slices)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, the latencies of each round included, for JSON."""
        bare = self.against_bare
        return {
            "model": self.case.model,
            "engine": None if self.case.kind is None else self.case.kind.name,
            "frames": self.case.workload.name,
            "protocol": self.case.protocol,
            "load": self.case.load,
            "clients": self.case.clients,
            "utilization": self.case.utilization,
            "requests_per_second": asdict(self.requests_per_second),
            "audio_seconds_per_second": asdict(self.audio_seconds_per_second),
            "real_time_factor": self.real_time_factor,
            "latency_ms": self.latency_ms,
            "against_bare": None if bare is None else asdict(bare),
            "steps": {name: asdict(step) for name, step in self.steps.items()},
            "outside_engine": self.outside_engine,
            "computed_per_asked": self.computed_per_asked,
            "cpu_per_audio_second": self.cpu_per_audio_second,
            "memory_bytes": self.memory_bytes,
            "rounds": [
                {
                    "seconds": one.seconds,
                    "memory_bytes": one.memory_bytes,
                    "samples": [{"frames": s.frames, "latency_ms": 1e3 * s.latency_s} for s in one.samples],
                }
                for one in self._slices
            ],
        }

    @property
    def _samples(self) -> list[Sample]:
        return [sample for one in self._slices for sample in one.samples]

    def _spread(self, value: Callable[[Slice], float]) -> Spread:
        return Spread.of([value(one) for one in self._slices])


def part_of(model: str) -> str:
    """Return which part of an ensemble a model is: preprocess, engine or postprocess."""
    part = model.partition("-")[0]
    return part if part in ("preprocess", "postprocess") else "engine"

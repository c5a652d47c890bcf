"""What the models of a server have done, as Triton's statistics tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StepStatistics:
    """What one model of the server has done since the server started."""

    inferences: int
    """Batch items answered: windows, for an engine."""
    seconds: float
    """Time spent computing, queues not counted."""
    requests: int = 0
    """Requests answered."""
    executions: int = 0
    """Calls of the model; fewer than `requests` where requests are batched, 0 where the model counts itself."""
    queue_s: float = 0.0
    """Time that requests waited in the queue."""
    copy_s: float = 0.0
    """Time spent gathering inputs and handing out outputs."""
    frames: int = 0
    """Frames that a static engine yielded, where it counts itself."""

    @classmethod
    def parse(cls, entry: dict[str, Any]) -> StepStatistics:
        """Read one entry of Triton's statistics; counts of zero are left out by gRPC."""
        statistics = entry.get("inference_stats", {})

        def seconds(part: str) -> float:
            return int(statistics.get(part, {}).get("ns", 0)) / 1e9

        return cls(
            inferences=int(entry.get("inference_count", 0)),
            seconds=seconds("compute_infer"),
            requests=int(statistics.get("success", {}).get("count", 0)),
            executions=int(entry.get("execution_count", 0)),
            queue_s=seconds("queue"),
            copy_s=seconds("compute_input") + seconds("compute_output"),
        )

    def __sub__(self, earlier: StepStatistics) -> StepStatistics:
        pairs = zip(vars(self).values(), vars(earlier).values(), strict=True)
        return StepStatistics(*(after - before for after, before in pairs))


def read_statistics(entries: Any) -> dict[str, StepStatistics]:
    """Read Triton's statistics of every model, by model name.

    Raises:
        ValueError: if they are none.

    """
    try:
        found = {entry["name"]: StepStatistics.parse(entry) for entry in entries}
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no statistics: {error!r}") from None
    if not all(isinstance(name, str) for name in found):
        raise ValueError(f"no statistics: models are called {list(found)!r}")
    return found


def step_order(model: str) -> tuple[bool, bool]:
    """Return a key that sorts the models of the ensemble as the data passes them: the engine between the others."""
    return model.startswith("postprocess"), not model.startswith("preprocess")

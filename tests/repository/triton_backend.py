"""A stand-in for the module that only Triton's Python processes have."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

ADAPTERS = "sifigan_triton.repository.adapters"
ARGS = {"model_name": "engine", "model_version": "1"}


class Family:
    """Metrics of one name. As Triton's, they bear no second thread; `broken`: /dev/shm is full."""

    COUNTER, GAUGE = "counter", "gauge"
    broken = False
    values: dict[tuple[str, ...], float]
    busy = threading.Lock()

    def __init__(self, name: str, description: str, kind: str) -> None:
        self.name, self.kind = name, kind

    def Metric(self, labels: dict[str, str]) -> Any:  # noqa: N802 - Triton's name
        key = (self.name, *(f"{name}={value}" for name, value in labels.items() if name not in ("model", "version")))
        Family.values.setdefault(key, 0.0)
        return SimpleNamespace(increment=lambda by: self._change(key, by), set=lambda to: self._change(key, to, True))

    def _change(self, key: tuple[str, ...], by: float, sets: bool = False) -> None:
        assert self.busy.acquire(blocking=False), "two threads at once"
        try:
            time.sleep(1e-4)
            if Family.broken:
                raise RuntimeError("No space left on device")
            assert sets == (self.kind == self.GAUGE)
            assert sets or by >= 0.0
            Family.values[key] = by if sets else Family.values[key] + by
        finally:
            self.busy.release()


@contextmanager
def adapter(name: str) -> Iterator[ModuleType]:
    """Give a module of the adapters that needs Triton, beside the stand-in."""
    Family.values, Family.broken = {}, False
    backend = SimpleNamespace(
        Tensor=lambda name, values: (name, values),
        TritonError=lambda message, code: (message, code),
        InferenceResponse=lambda tensors=None, error=None: error or dict(tensors),
        MetricFamily=Family,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
    )
    for code in ("CANCELLED", "UNAVAILABLE", "INVALID_ARG", "INTERNAL"):
        setattr(backend.TritonError, code, code)
    made = [f"{ADAPTERS}.{module}" for module in ("metrics", "responses")]
    sys.modules["triton_python_backend_utils"] = backend  # type: ignore[assignment]
    try:
        yield import_module(f"{ADAPTERS}.{name}")
    finally:
        for module in (*made, "triton_python_backend_utils"):
            sys.modules.pop(module, None)

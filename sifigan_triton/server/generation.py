"""A generation: one Triton, what it serves, and the watch over it. Where others shall be served, the next one comes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sifigan_triton.repository.servable import ServableError, find_servable
from sifigan_triton.server.front import Ports
from sifigan_triton.server.ports import PortLease
from sifigan_triton.server.triton_server import ServerError, TritonServer
from sifigan_triton.server.watch import Watch

INSIDE = "127.0.0.1"
"""Where Triton listens: behind the proxy."""
RESTARTS = "SIFIGAN_RESTARTS"
"""Variable that tells the models how often the server was started again."""
LOGS = ("triton.log", "triton-second.log")
"""Files of what the Triton of each side says."""


@dataclass(frozen=True)
class Offer:
    """What is served."""

    model_repository: Path
    models: Sequence[str]
    """Models to load, with those that they are composed of; none: all."""
    probed: Sequence[str]
    """Ensembles that have to make sound, or the server is started again."""


@dataclass(frozen=True)
class Housing:
    """How every Triton of a service runs."""

    ports: tuple[Ports, Ports]
    """Those of each side."""
    logs: Path
    client_shared_memory: bool
    arguments: Sequence[str]


class Generation:
    """One Triton that serves an offer, on one of the two sides between which the proxy switches."""

    def __init__(self, offer: Offer, housing: Housing, side: int) -> None:
        """Describe it; `start` starts it."""
        self.offer, self.side = offer, side
        self._housing = housing
        self._triton: TritonServer | None = None
        self._watch: Watch | None = None
        self._started = False

    @property
    def sounds(self) -> bool:
        """Whether it was started and its models have made sound."""
        return self._watch is not None

    @property
    def ended(self) -> bool:
        """Whether its process is gone."""
        return self._triton is None or self._triton.exit_status is not None

    def start(self, stopping: threading.Event, restarts: int) -> None:
        """Start Triton and wait until its models have made sound.

        Args:
            stopping: set when nobody wants it any more.
            restarts: how often the service was started again, for its metrics.

        Raises:
            ServerError: if it does not start, or what was served before is not what was built any more.

        """
        offer, housing, ports = self.offer, self._housing, self._housing.ports[self.side]
        if self._started and offer.models:
            _check(offer.model_repository, offer.models)
        self._started = True
        self._triton = TritonServer(
            offer.model_repository,
            host=INSIDE,
            http_port=ports.http,
            grpc_port=ports.grpc,
            metrics_port=ports.metrics,
            log_path=housing.logs / LOGS[self.side],
            models=offer.models,
            client_shared_memory=housing.client_shared_memory,
            arguments=housing.arguments,
            environment={RESTARTS: str(restarts)},
        )
        self._triton.start(stopping)
        self._watch = Watch(self._triton, offer.probed, stopping)

    def fault(self) -> str | None:
        """Return why it has to be started again; None while all is well."""
        return self._watch.fault() if self._watch is not None else "it did not start"

    def stop(self, at_once: bool = False) -> None:
        """End it; without letting it answer what is under way, if `at_once`."""
        if self._watch is not None:
            self._watch.close()
        if self._triton is not None:
            self._triton.stop(at_once)
        self._watch = self._triton = None


def free_ports() -> tuple[Ports, Ports]:
    """Pick the ports of both sides, which stay the same when a Triton is started again."""
    names = [(side, name) for side in "ab" for name in ("HTTP", "gRPC", "metrics")]
    lease = PortLease(INSIDE, {f"{name} {side}": 0 for side, name in names})
    lease.acquire()
    try:
        one, two = (Ports(*(lease[f"{name} {side}"] for name in ("HTTP", "gRPC", "metrics"))) for side in "ab")
        return one, two
    finally:
        lease.release()


def _check(repository: Path, models: Sequence[str]) -> None:
    """Check that what was served before is still what was built."""
    try:
        find_servable(repository, models)
    except ServableError as error:
        raise ServerError(str(error)) from None

"""A generation: one Triton, what it serves, and the watch over it. Where others shall be served, the next one comes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sifigan_triton.repository.servable import ServableError, find_servable
from sifigan_triton.repository.voice_names import voice_of
from sifigan_triton.server.front import Ports
from sifigan_triton.server.ports import PortLease
from sifigan_triton.server.triton_server import ServerError, TritonServer
from sifigan_triton.server.watch import Watch

logger = logging.getLogger(__name__)

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

    def without(self, models: Collection[str]) -> Offer | None:
        """Return what is left without the voices of some models; None if that is no voice, or nothing less."""
        voices = {voice_of(name) for name in models} - {None}
        left, probed = (
            tuple(name for name in names if voice_of(name) not in voices) for names in (self.models, self.probed)
        )
        return Offer(self.model_repository, left, probed) if probed and len(left) < len(self.models) else None


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
        self._left = offer
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

        A voice whose models cannot be loaded, or make no sound, keeps no other from being served: it is left out.

        Args:
            stopping: set when nobody wants it any more.
            restarts: how often the service was started again, for its metrics.

        Raises:
            ServerError: if it does not start, or what was served before is not what was built any more.

        """
        while True:
            try:
                self._start(self._left, stopping, restarts)
            except ServerError as error:
                left = self._left.without(error.models)
                if left is None or stopping.is_set():
                    raise
                gone = sorted({*self._left.probed} - {*left.probed} or error.models)
                logger.error("%s is left out until SIGHUP: %s", ", ".join(gone), " ".join(str(error).split())[:600])
                self.stop(at_once=True)
                self._left = left
            else:
                return

    def _start(self, offer: Offer, stopping: threading.Event, restarts: int) -> None:
        housing, ports = self._housing, self._housing.ports[self.side]
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
        left_out = find_servable(repository).left_out
    except ServableError as error:
        if not error.left_out:
            raise ServerError(str(error)) from None
        left_out = error.left_out
    gone = {name: "it is gone" for name in models if not (repository / name / "config.pbtxt").is_file()}
    bad = gone | {name: left_out[name] for name in models if name in left_out}
    if bad:
        said = "; ".join(f"cannot serve {name}: {reason}" for name, reason in bad.items())
        raise ServerError(f"{repository}: {said}", bad)

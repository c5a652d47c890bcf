"""The service: a Triton server behind its proxy, kept alive. What `serve` runs, and the container."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sifigan_triton.repository.servable import ServableError, find_servable
from sifigan_triton.server.front import Front, Limits, Ports
from sifigan_triton.server.ports import PortLease
from sifigan_triton.server.triton_server import ServerError, TritonServer
from sifigan_triton.server.watch import Watch

__all__ = ["Service", "ServiceOptions"]

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 60.0
"""Longest wait before a start that follows failed ones; the first comes at once, then 1, 2, 4 ... seconds."""
HEALTHY_S = 300.0
"""Seconds of health after which earlier failures no longer count."""
LOG_BYTES = 64 * 2**20
"""Size at which a log is moved to `<name>.1`, over the one that stood there: callers can make it grow."""
POLL_S = 0.1
LOOK_EVERY_S = 10.0
"""Seconds between two looks at a proxy that lives, and between two starts of one that does not."""
INSIDE = "127.0.0.1"
"""Where Triton listens: behind the proxy."""
RESTARTS = "SIFIGAN_RESTARTS"
"""Variable that tells the models how often the server was started again."""


@dataclass(frozen=True)
class ServiceOptions:
    """What a service serves, where, and how much of it."""

    model_repository: Path
    models: Sequence[str]
    """Models to load, with those that they are composed of; none: all."""
    probed: Sequence[str] = ("sifigan",)
    """Ensembles that have to make sound, or the server is started again."""
    host: str = "127.0.0.1"
    ports: Ports = Ports(8000, 8001, 8002)  # noqa: RUF009 - frozen
    """0 picks a free one."""
    limits: Limits = Limits()  # noqa: RUF009 - frozen
    grace_s: float = 30.0
    """Seconds for the calls in flight when the service is told to stop."""
    logs: Path = Path("out")
    """Folder of `triton.log` and `front.log`."""
    client_shared_memory: bool = False
    published: bool = False
    """Whether the address is a container's: its host says who reaches it, and so who may register memory."""
    arguments: Sequence[str] = ()
    """Further command line arguments of `tritonserver`."""


class Service:
    """A server that is started again when it dies, loses one of its processes or makes no sound any more.

    Callers reach the proxy, which stays: while Triton is away it answers 503 with `Retry-After`.
    """

    def __init__(self, options: ServiceOptions) -> None:
        """Describe the service; `run` runs it.

        Raises:
            ServerError: if clients may share memory and are not of this machine.

        """
        self.options = options
        asked = {"HTTP": options.ports.http, "gRPC": options.ports.grpc, "metrics": options.ports.metrics}
        self._ports = PortLease(options.host, asked)
        self._inner = Ports(0, 0, 0)
        self._stopping = threading.Event()
        self._front: Front | None = None
        self._triton: TritonServer | None = None
        self._watch: Watch | None = None
        self._look_at = 0.0
        self.restarts = 0
        if options.client_shared_memory and not (options.published or self._ports.is_local):
            raise ServerError(
                f"client shared memory is for this machine, and the server would listen on {options.host}: whoever may "
                "register memory can take over the server; leave one of the two out"
            )

    @property
    def http_url(self) -> str:
        """Address of the HTTP API, as "127.0.0.1:8000"."""
        return self._ports.url("HTTP")

    @property
    def grpc_url(self) -> str:
        """Address of the gRPC API."""
        return self._ports.url("gRPC")

    @property
    def metrics_url(self) -> str:
        """Address of the metrics: Triton's at /metrics, the proxy's at /front/metrics."""
        return self._ports.url("metrics")

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine reach it."""
        return self._ports.is_local

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM, then answer what is in flight. For the main thread.

        Args:
            ready: called once, when calls are let in.

        Raises:
            ServerError: if it cannot be started at all. Later failures are logged, and the server is started again.

        """
        with self._signals():
            try:
                self._start()
                ready()
                self._keep_up()
                self._drain()
            except ServerError as error:
                if not self._stopping.is_set():
                    raise
                logger.warning("stopped: %s", _one_line(str(error)))
            finally:
                self._stop()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as the wish to stop."""
        numbers = (signal.SIGINT, signal.SIGTERM)

        def stop(*_: object) -> None:  # in a thread: this one may stand inside `wait`, with the event's lock
            threading.Thread(target=self._stopping.set).start()

        previous = {number: signal.signal(number, stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _start(self) -> None:
        """Start the proxy and Triton, and let calls in."""
        self._ports.acquire()
        self._inner = _free_ports()
        self._start_front()
        self._start_triton()
        self._open()

    def _start_front(self) -> None:
        options = self.options
        ports, log = Ports(self._ports["HTTP"], self._ports["gRPC"], self._ports["metrics"]), options.logs / "front.log"
        self._front = Front(options.host, ports, self._inner, options.limits, log, options.client_shared_memory)

    def _start_triton(self) -> None:
        """Start Triton and wait until its models have made sound."""
        options = self.options
        if self.restarts and options.models:
            _check(options.model_repository, options.models)
        self._triton = TritonServer(
            options.model_repository,
            host=INSIDE,
            http_port=self._inner.http,
            grpc_port=self._inner.grpc,
            metrics_port=self._inner.metrics,
            log_path=options.logs / "triton.log",
            models=options.models,
            client_shared_memory=options.client_shared_memory,
            arguments=options.arguments,
            environment={RESTARTS: str(self.restarts)},
        )
        self._triton.start(self._stopping)
        self._watch = Watch(self._triton, options.probed, self._stopping)

    def _stop_triton(self, at_once: bool = False) -> None:
        if self._watch is not None:
            self._watch.close()
        if self._triton is not None:
            self._triton.stop(at_once)
        self._watch = self._triton = None

    def _open(self) -> None:
        """Let calls in, if there is something to call."""
        if self._front is not None and self._watch is not None:
            self._front.open()

    def _keep_up(self) -> None:
        """Watch what runs, and start again what fails, until the service shall stop."""
        failures, healthy_since = 0, time.monotonic()
        while not self._stopping.wait(POLL_S):
            self._bound_logs()
            self._mend_front()
            fault = self._watch.fault() if self._watch is not None else "it did not start"
            if fault is None:
                if time.monotonic() - healthy_since > HEALTHY_S:
                    failures = 0
                continue
            pause_s = 0.0 if failures == 0 else min(2.0 ** (failures - 1), LONGEST_PAUSE_S)
            failures += 1
            self._restart(fault, pause_s)
            healthy_since = time.monotonic()

    def _restart(self, fault: str, pause_s: float) -> None:
        """Start Triton again; where that fails, the next round of the watch finds it out."""
        when = f" in {pause_s:g} s" if pause_s else ""
        logger.warning("Triton is started again%s: %s", when, _one_line(fault))
        began = time.monotonic()
        self.restarts += 1
        try:
            if self._front is not None:
                self._front.close()
            self._stop_triton(at_once=True)
            if self._stopping.wait(pause_s):
                return
            self._mend_front()
            self._start_triton()
            self._open()
        except (ServerError, OSError) as error:
            logger.error("Triton did not start again: %s", _one_line(str(error)))
            self._stop_triton(at_once=True)
            return
        logger.warning("Triton serves again after %.1f s", time.monotonic() - began)

    def _mend_front(self) -> None:
        """Start the proxy again if it has died, or answers nothing."""
        now = time.monotonic()
        if self._front is not None:
            status = self._front.exit_status
            if status is None and now < self._look_at:
                return
            self._look_at = now + LOOK_EVERY_S
            if status is None and not (self._front.is_stuck() and self._front.is_stuck()):
                return
            what = "it answers nothing" if status is None else f"it ended with status {status}"
            logger.warning("the proxy is started again: %s", what)
            self._front.stop(at_once=True)
            self._front = None
        elif now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        try:
            self._start_front()
            self._open()
        except (ServerError, OSError) as error:
            logger.error("the proxy did not start again: %s", _one_line(str(error)))

    def _drain(self) -> None:
        """Refuse new calls, and wait for those in flight as long as the grace allows."""
        if self._front is None or self._triton is None:
            return
        self._front.close()
        until = time.monotonic() + self.options.grace_s
        while (left := self._front.in_flight() or self._front.unread()) and time.monotonic() < until:
            if self._triton.exit_status is not None:
                break
            time.sleep(POLL_S)
        if left:
            calls = self._front.in_flight()
            logger.warning("the grace of %g s is over, %d calls in flight are lost", self.options.grace_s, calls)
            self._stop_triton(at_once=True)

    def _stop(self) -> None:
        if self._front is not None:
            self._front.stop()  # first: Triton would wait for the connections that it keeps
        self._front = None
        self._stop_triton()
        self._ports.release()

    def _bound_logs(self) -> None:
        """Move a log aside that has grown: what callers do wrong is written there."""
        for log in (self.options.logs / "triton.log", self.options.logs / "front.log"):
            try:
                if log.is_file() and log.stat().st_size > LOG_BYTES:
                    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            except OSError as error:  # as with a full disk, which has even more reason for what comes next
                logger.warning("%s is emptied, but not kept: %s", log, error)
            if log.is_file() and log.stat().st_size > LOG_BYTES:
                os.truncate(log, 0)  # its writer appends


def _check(repository: Path, models: Sequence[str]) -> None:
    """Check that what was served before is still what was built."""
    try:
        find_servable(repository, models)
    except ServableError as error:
        raise ServerError(str(error)) from None


def _one_line(text: str) -> str:
    """Return the beginning of a reason."""
    return "; ".join(text.splitlines()[:4])[:600]


def _free_ports() -> Ports:
    """Pick the ports of Triton, which stay the same when it is started again."""
    lease = PortLease(INSIDE, {"HTTP": 0, "gRPC": 0, "metrics": 0})
    lease.acquire()
    try:
        return Ports(lease["HTTP"], lease["gRPC"], lease["metrics"])
    finally:
        lease.release()

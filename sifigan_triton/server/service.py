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

from sifigan_triton.server.front import Front, Limits, Ports
from sifigan_triton.server.generation import LOGS, Generation, Housing, Offer, free_ports
from sifigan_triton.server.ports import PortLease
from sifigan_triton.server.triton_server import ServerError

__all__ = ["FRONT_LOG", "LOGS", "Service", "ServiceOptions"]

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 60.0
"""Longest wait before a start that follows failed ones; the first comes at once, then 1, 2, 4 ... seconds."""
HEALTHY_S = 300.0
"""Seconds of health after which earlier failures no longer count."""
JOIN_S = 5.0
"""Seconds that a start is waited for that is abandoned."""
LOG_BYTES = 64 * 2**20
"""Size at which a log is moved to `<name>.1`, over the one that stood there: callers can make it grow."""
POLL_S = 0.1
LOOK_EVERY_S = 10.0
"""Seconds between two looks at a proxy that lives, and between two starts of one that does not."""
QUIET_LOOKS = 5
"""Looks in a row at which no call is on its way to a Triton any more before it may end."""
FRONT_LOG = "front.log"


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
    """Folder of `LOGS` and `FRONT_LOG`."""
    client_shared_memory: bool = False
    published: bool = False
    """Whether the address is a container's: its host says who reaches it, and so who may register memory."""
    arguments: Sequence[str] = ()
    """Further command line arguments of `tritonserver`."""
    again: Callable[[], ServiceOptions] | None = None
    """Reads anew what is served, when the service is told to look: another release, other models of the folder."""
    follow_s: float = 0.0
    """Seconds between two looks that nobody asks for; 0: none."""

    @property
    def offer(self) -> Offer:
        """What is served."""
        return Offer(self.model_repository, tuple(self.models), tuple(self.probed))


class Service:
    """A server that is started again when it dies, loses one of its processes or makes no sound any more.

    Callers reach the proxy, which stays: while Triton is away it answers 503 with `Retry-After`. On SIGHUP what is
    served is read anew and a second Triton is started on it; once it sounds calls go there, and the first one ends when
    it has answered its own. Where the second does not sound, nothing changes.
    """

    def __init__(self, options: ServiceOptions) -> None:
        """Describe the service; `run` runs it.

        Raises:
            ServerError: if clients may share memory and are not of this machine.

        """
        self.options = options
        asked = {"HTTP": options.ports.http, "gRPC": options.ports.grpc, "metrics": options.ports.metrics}
        self._ports = PortLease(options.host, asked)
        self._generations: list[Generation | None] = [None, None]
        self._serving = 0
        self._stopping, self._renew_now = threading.Event(), threading.Event()
        self._renewal: _Renewal | None = None
        self._leaving: threading.Thread | None = None
        self._renewed_at = time.monotonic()
        self._refused: Offer | None = None
        self._front: Front | None = None
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
    def _live(self) -> Generation:
        """The generation to which calls go."""
        live = self._generations[self._serving]
        assert live is not None
        return live

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine reach it."""
        return self._ports.is_local

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM, then answer what is in flight; SIGHUP renews. For the main thread.

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
        """Take SIGINT and SIGTERM as the wish to stop, SIGHUP to renew; but a terminal that is closed stops, too."""
        closes = _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN  # `nohup` ignores it

        def tell(number: int, _: object) -> None:  # in a thread: this one may stand inside `wait`, with an event's lock
            renew = number == signal.SIGHUP and not (closes and not _has_terminal())
            threading.Thread(target=(self._renew_now if renew else self._stopping).set).start()

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        previous = {number: signal.signal(number, tell) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _start(self) -> None:
        """Start the proxy and Triton, and let calls in."""
        self._ports.acquire()
        options = self.options
        self._housing = Housing(free_ports(), options.logs, options.client_shared_memory, options.arguments)
        self._generations[0] = Generation(options.offer, self._housing, 0)
        self._start_front()
        self._live.start(self._stopping, self.restarts)
        self._open()

    def _start_front(self) -> None:
        options = self.options
        ports, log = Ports(self._ports["HTTP"], self._ports["gRPC"], self._ports["metrics"]), options.logs / FRONT_LOG
        inner = self._housing.ports
        self._front = Front(options.host, ports, inner, options.limits, log, options.client_shared_memory)

    def _open(self) -> None:
        """Let calls in, if there is something to call."""
        if self._front is not None and self._live.sounds:
            self._front.open(self._serving)

    def _keep_up(self) -> None:
        """Watch what runs, and start again what fails, until the service shall stop."""
        failures, healthy_since = 0, time.monotonic()
        while not self._stopping.wait(POLL_S):
            self._bound_logs()
            self._mend_front()
            self._renew()
            fault = self._live.fault()
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
            self._live.stop(at_once=True)
            until = time.monotonic() + pause_s
            while time.monotonic() < until:
                if self._stopping.wait(POLL_S) or (self._renewal is not None and self._renewal.over):
                    return
            self._mend_front()
            self._live.start(self._stopping, self.restarts)
            self._open()
        except (ServerError, OSError) as error:
            logger.error("Triton did not start again: %s", _one_line(str(error)))
            self._live.stop(at_once=True)
            return
        logger.warning("Triton serves again after %.1f s", time.monotonic() - began)

    def _renew(self) -> None:
        """Make the next generation where that is wanted, and let it serve when it sounds."""
        if self._renewal is None and self._leaving is None:
            due = 0 < self.options.follow_s < time.monotonic() - self._renewed_at
            if asked := self._renew_now.is_set():
                self._renew_now.clear()
                logger.info("what is served is read anew")
            if asked or due:
                self._renewal = _Renewal(lambda: self._next(asked))
        elif self._renewal is not None and self._renewal.over:
            made, error = self._renewal.generation, self._renewal.error
            self._renewal, self._renewed_at = None, time.monotonic()
            if error is not None:
                logger.error("nothing new is served, what was served before goes on: %s", _one_line(str(error)))
            elif made is not None:
                self._switch(made)
        elif self._leaving is not None and not self._leaving.is_alive():
            self._leaving = None

    def _next(self, asked: bool) -> Generation | None:
        """Start Triton on what shall be served now; None if that is served already, or was tried in vain."""
        offer = self.options.offer if self.options.again is None else self.options.again().offer
        if not asked and offer in (self._live.offer, self._refused):
            return None
        if self._stopping.is_set():
            return None
        made = Generation(offer, self._housing, 1 - self._serving)
        self._generations[made.side] = made
        try:
            made.start(self._stopping, self.restarts)
        except BaseException:
            made.stop(at_once=True)
            self._refused = offer
            raise
        return made

    def _switch(self, made: Generation) -> None:
        """Lead calls to a generation that sounds, and let the one before it answer its own."""
        before, self._serving, self._refused = self._live, made.side, None
        try:
            self._open()
        except ServerError as error:
            logger.warning("the proxy is started again: %s", _one_line(str(error)))
            if self._front is not None:
                self._front.stop(at_once=True)  # the next one leads calls to where they belong
            self._front = None
        logger.info("serving %s now: %s", made.offer.model_repository, " ".join(made.offer.models) or "all models")
        self._leaving = threading.Thread(target=self._let_go, args=(before,), name="leaving", daemon=True)
        self._leaving.start()

    def _let_go(self, before: Generation) -> None:
        """End a generation that is not called any more, when it has answered; a stop of the service ends it, too."""
        until, quiet = time.monotonic() + self.options.grace_s, 0
        while quiet < QUIET_LOOKS and time.monotonic() < until and not before.ended:
            if self._stopping.wait(POLL_S):
                return
            quiet = quiet + 1 if self._on_side(before.side) == 0 else 0
        if quiet < QUIET_LOOKS and (lost := self._on_side(before.side)):
            logger.warning(
                "the grace of %g s is over, %d calls to what was served before are lost", self.options.grace_s, lost
            )
        before.stop(at_once=quiet < QUIET_LOOKS)

    def _on_side(self, side: int) -> int:
        """Return how many calls are on their way to a generation; 1 if the proxy does not tell."""
        front = self._front
        try:
            return 0 if front is None else front.on_side(side)
        except ServerError:
            return 1

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
        if self._front is None or self._live.ended:
            return
        self._front.close()
        until = time.monotonic() + self.options.grace_s
        while (left := self._front.in_flight() or self._front.unread()) and time.monotonic() < until:
            if self._live.ended:
                break
            time.sleep(POLL_S)
        if left:
            calls = self._front.in_flight()
            logger.warning("the grace of %g s is over, %d calls in flight are lost", self.options.grace_s, calls)
            self._live.stop(at_once=True)

    def _stop(self) -> None:
        if self._front is not None:
            self._front.stop()  # first: Triton would wait for the connections that it keeps
        self._front = None
        if self._leaving is not None:
            self._leaving.join()
        if self._renewal is not None:
            self._renewal.join(JOIN_S)  # what fetches a release may take longer: it ends with the process
        for generation in filter(None, self._generations):
            generation.stop()
        self._ports.release()

    def _bound_logs(self) -> None:
        """Move a log aside that has grown: what callers do wrong is written there."""
        for log in (self.options.logs / name for name in (*LOGS, FRONT_LOG)):
            try:
                if log.is_file() and log.stat().st_size > LOG_BYTES:
                    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            except OSError as error:  # as with a full disk, which has even more reason for what comes next
                logger.warning("%s is emptied, but not kept: %s", log, error)
            if log.is_file() and log.stat().st_size > LOG_BYTES:
                os.truncate(log, 0)  # its writer appends


def _one_line(text: str) -> str:
    """Return the beginning of a reason."""
    return "; ".join(text.splitlines()[:4])[:600]


def _has_terminal() -> bool:
    """Tell whether there is a terminal that could be closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


class _Renewal(threading.Thread):
    """Makes the next generation, in a thread: that takes as long as a start, and a release is fetched before."""

    def __init__(self, make: Callable[[], Generation | None]) -> None:
        super().__init__(name="renewal", daemon=True)
        self._make = make
        self.generation: Generation | None = None
        self.error: Exception | None = None
        self.over = False
        self.start()

    def run(self) -> None:
        try:
            self.generation = self._make()
        except Exception as error:  # noqa: BLE001 - logged by who waits for it; what serves must not end by it
            self.error = error
        self.over = True

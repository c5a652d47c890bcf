"""Whether a Triton server still makes sound: its processes are looked at, and it is asked for a few frames."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sifigan_triton.server.health import Probe, UnhealthyError, probe
from sifigan_triton.server.triton_server import ServerError, TritonServer

PROBE_EVERY_S = 10.0
"""Seconds between two probes."""
PROBE_TIMEOUT_S = 30.0
"""Seconds that a probe may take: behind a full house it waits for its turn like any call."""
FAILED_PROBES = 2
"""Probes that fail in a row before the server counts as lost: one may meet a moment without memory."""
_STUB = "triton_python_b"  # as far as the kernel keeps a name
_LOST = "ZXT"
"""States of a process that has ended, or was stopped by a signal: a server that waits for it hangs, then aborts."""
_AGAIN_S = 1.0
_POLL_S = 0.05
_LOOK_EVERY_S = 0.5


class Watch:
    """Watches a running server, from the moment on at which it has made sound for the first time."""

    def __init__(self, server: TritonServer, models: Sequence[str], abandoned: threading.Event) -> None:
        """Make each model sound, then watch.

        Args:
            server: it runs, and is ready by its own account.
            models: ensembles that have to make sound.
            abandoned: set when nobody wants the server any more.

        Raises:
            ServerError: if one does not.

        """
        self._server, self._models = server, tuple(models)
        self._asked = ""
        self._closed = threading.Event()
        self._fault: str | None = None
        self._looked = 0.0
        try:
            self._expected = self._first(abandoned)
        except UnhealthyError as error:
            server.check_alive()
            raise ServerError(f"the server is ready, but makes no sound: {error}", {self._asked}) from None
        self._stubs = _stubs(server.pid)
        self._thread = threading.Thread(target=self._ask, name="health", daemon=True)
        self._thread.start()

    def _first(self, abandoned: threading.Event) -> list[Probe]:
        """Return the first probes, unless that is not worth the time any more."""
        with ThreadPoolExecutor(1) as pool:
            made = pool.submit(lambda: [self._probe(model) for model in self._models])
            while not made.done():
                if abandoned.is_set():
                    self._server.stop(at_once=True)  # ends the probe, too
                    raise ServerError("the server was stopped while it started")
                time.sleep(_POLL_S)
            return made.result()

    def fault(self) -> str | None:
        """Return why the server has to be started again; None while all is well."""
        try:
            self._server.check_alive()
        except ServerError as error:
            return str(error)
        now = time.monotonic()
        if now - self._looked > _LOOK_EVERY_S:
            self._looked = now
            if lost := self._stubs - _stubs(self._server.pid):
                return f"{len(lost)} of {len(self._stubs)} processes of its Python models died or were stopped"
        return self._fault

    def close(self) -> None:
        """Stop watching; a probe that is under way ends with the server."""
        self._closed.set()

    def _ask(self) -> None:
        """Probe again and again."""
        failed = 0
        while not self._closed.wait(_AGAIN_S if failed else PROBE_EVERY_S):
            try:
                for model, expected in zip(self._models, self._expected, strict=True):
                    if not self._probe(model).is_alike(expected):
                        raise UnhealthyError(f"{model} makes other samples than at the start")
                failed = 0
            except UnhealthyError as error:
                failed += 1
                if failed >= FAILED_PROBES:
                    self._fault = f"{failed} health probes in a row failed: {error}"

    def _probe(self, model: str) -> Probe:
        self._asked = model
        return probe(self._server.http_url, model, PROBE_TIMEOUT_S)


def _stubs(pid: int | None) -> frozenset[int]:
    """Return the ids of a server's processes for Python models that live."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")
        except OSError:  # it has ended meanwhile
            continue
        state, parent = tail.split()[:2]
        if int(parent) == pid and head.partition("(")[2] == _STUB and state not in _LOST:
            found.add(int(head.partition("(")[0]))
    return frozenset(found)

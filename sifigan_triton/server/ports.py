"""The ports that a server listens on."""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
from collections.abc import Mapping

from sifigan_triton.server.triton_wheel import ServerError

_lock = threading.Lock()
_leased: set[int] = set()


class PortLease:
    """Ports of one server, by purpose; those given as 0 are picked when the lease is taken.

    Two leases of this process never hold the same port, also while nothing listens on it yet.
    """

    def __init__(self, host: str, asked: Mapping[str, int]) -> None:
        """Describe the lease: the address to listen on and a port for each purpose, 0 for any free one."""
        self._host = host
        self._asked = dict(asked)
        self._ports: dict[str, int] = {}

    def acquire(self) -> None:
        """Take the ports.

        Raises:
            ServerError: if the address is not this machine's or a port is in use, naming it and its purpose.

        """
        with _lock:
            try:
                for purpose, port in self._asked.items():
                    self._ports[purpose] = self._free(purpose) if port == 0 else self._check(purpose, port)
                    _leased.add(self._ports[purpose])
            except BaseException:
                self._drop()
                raise

    def release(self) -> None:
        """Give the ports back; does nothing when none are held."""
        with _lock:
            self._drop()

    def __getitem__(self, purpose: str) -> int:
        """Return the port for a purpose; 0 stands for one that has not been picked yet."""
        return self._ports.get(purpose, self._asked[purpose])

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine reach the ports."""
        try:
            return ipaddress.ip_address(self._host).is_loopback
        except ValueError:
            return self._host == "localhost"

    def url(self, purpose: str) -> str:
        """Return "host:port" under which this machine reaches the port."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._host, self._host)
        return f"{host}:{self[purpose]}"

    def _drop(self) -> None:
        """Forget the ports, under the lock."""
        _leased.difference_update(self._ports.values())
        self._ports.clear()

    def _check(self, purpose: str, port: int) -> int:
        """Return `port` if it can be had."""
        if not 0 < port < 65536:
            raise ServerError(f"the {purpose} port is {port}, expected 1 to 65535, or 0 for any free one")
        if port in _leased or self._bind(port) is None:
            raise ServerError(
                f"the {purpose} port {port} on {self._host} is in use: stop what listens there "
                f"(`ss -ltnp 'sport = :{port}'` shows it) or choose another port"
            )
        return port

    def _free(self, purpose: str) -> int:
        """Return a free port that no other lease holds."""
        for _ in range(100):
            port = self._bind(0)
            if port is not None and port not in _leased:
                return port
        raise ServerError(f"no free port on {self._host} for {purpose}")

    def _bind(self, port: int) -> int | None:
        """Bind and let go: return the port, or None if something listens on it."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return None
                raise ServerError(f"cannot listen on {self._host} port {port}: {error.strerror or error}") from None
            return int(probe.getsockname()[1])

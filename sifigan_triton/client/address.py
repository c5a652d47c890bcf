"""The address of a server: which protocol its port is said to speak, and which one it really speaks."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from sifigan_triton.client.errors import ServerUnavailableError, SynthesisTimeoutError

Protocol = Literal["http", "grpc"]
EXPECTED = "expected host:port, http://host:port or grpc://host:port"
_PROBE_TIMEOUT_S = 2.0
_KNOCK_TIMEOUT_S = 0.2
"""Longest that a call outlasts its deadline, at an address that neither takes nor refuses connections."""
_HTTP2_SETTINGS = 4
"""Type of the frame with which every HTTP/2 server, so every gRPC server, begins (RFC 9113, 6.5)."""


@dataclass(frozen=True)
class Address:
    """Where a server listens, and how to talk to it."""

    url: str
    """As the caller wrote it, for messages."""
    protocol: Protocol
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read `host:port`, `http://host:port` or `grpc://host:port`.

        Raises:
            ValueError: if it is none of these; there is no TLS, and no path.

        """
        scheme, _, rest = url.rpartition("://")
        if scheme not in ("", "http", "grpc"):
            hint = "; TLS is for a proxy to add" if scheme in ("https", "grpcs") else ""
            raise ValueError(f"url is {url!r}, {EXPECTED}: {scheme}:// is not spoken here{hint}")
        if not url.isprintable() or " " in url:  # urlsplit drops some of these silently
            raise ValueError(f"url is {url!r}, {EXPECTED}: no blanks and no control characters may stand in it")
        try:
            parts = urlsplit(f"//{rest}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"url is {url!r}, {EXPECTED}: {error}") from None
        if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError(f"url is {url!r}, {EXPECTED}: nothing may stand around these")
        if not host or not port:
            raise ValueError(f"url is {url!r}, {EXPECTED}: the {'port' if host else 'host'} is missing")
        return cls(url, "grpc" if scheme == "grpc" else "http", host, port)

    @property
    def host_port(self) -> str:
        """`host:port`, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def unavailable(self, reason: object, temporary: bool = True) -> ServerUnavailableError:
        """Return the error for a server that does not answer: it says so if its port speaks the other protocol.

        Args:
            reason: what went wrong.
            temporary: whether it may pass, unless the port speaks the other protocol.

        """
        spoken = self._spoken()
        if spoken in (None, "nobody"):
            message = f"no Triton server answers at {self.url}: {reason}"
            return ServerUnavailableError(message, temporary=temporary, reached=spoken is None)
        if spoken == self.protocol:
            return ServerUnavailableError(f"the server at {self.url} gave no answer: {reason}", temporary=temporary)
        names = {"http": "HTTP", "grpc": "gRPC"}
        right = f"grpc://{self.host_port}" if spoken == "grpc" else self.host_port
        other = "8000, HTTP" if self.protocol == "http" else "8001, gRPC"
        return ServerUnavailableError(
            f"{self.url}: {names[self.protocol]} was expected there, but this port speaks {names[spoken]}: write "
            f"{right!r}, or name the server's other port (by default {other})"
        )

    def refused(
        self, model: str, message: str, *, temporary: bool, retry_after_s: float = 0.0
    ) -> ServerUnavailableError:
        """Return the error for a server that answers `message`: it does not serve a model, or not now."""
        said = f"{self.url} {f'cannot serve {model}' if model else 'refuses'}: {message}"
        return ServerUnavailableError(said, temporary=temporary, retry_after_s=retry_after_s)

    def closed(self) -> ServerUnavailableError:
        """Return the error for a client that has been closed."""
        return ServerUnavailableError(f"this client of {self.url} has been closed: open a new one")

    def silent(self, timeout_s: float) -> ServerUnavailableError | SynthesisTimeoutError:
        """Return the error for an attempt that the deadline cut: the server took longer than `timeout_s`, or is gone.

        It may have been cut before it found that nobody listens, where more time would not help: asks the port.
        """
        try:
            socket.create_connection((self.host, self.port), _KNOCK_TIMEOUT_S).close()
        except ConnectionRefusedError as error:
            return ServerUnavailableError(
                f"no Triton server answers at {self.url}: {error}", temporary=True, reached=False
            )
        except (OSError, UnicodeError):
            pass  # an address that says nothing at all is silent, too
        return SynthesisTimeoutError(
            f"{self.url} did not answer within {timeout_s:g} s: raise timeout_s or send shorter utterances"
        )

    def stranger(self, answer: bytes, *, temporary: bool = False, retry_after_s: float = 0.0) -> ServerUnavailableError:
        """Return the error for an answer that is not of Triton's inference API."""
        shown = answer[:200].decode(errors="replace").strip()
        expected = {"http": "HTTP port there (by default 8000)", "grpc": "gRPC port there (by default 8001)"}
        said = f"{self.url} answers {shown!r}: expected Triton's {expected[self.protocol]}"
        return ServerUnavailableError(said, temporary=temporary, retry_after_s=retry_after_s)

    def _spoken(self) -> Protocol | Literal["nobody"] | None:
        """Ask the port which protocol it speaks; None if it does not tell, "nobody" if nobody listens there."""
        try:
            with socket.create_connection((self.host, self.port), _PROBE_TIMEOUT_S) as probe:
                probe.sendall(f"GET /v2/health/live HTTP/1.1\r\nHost: {self.host_port}\r\n\r\n".encode())
                answer = probe.recv(5)
        except ConnectionRefusedError:
            return "nobody"
        except (OSError, UnicodeError):
            return None
        if answer == b"HTTP/":
            return "http"
        return "grpc" if len(answer) > 3 and answer[3] == _HTTP2_SETTINGS else None


def check_model(model: str) -> str:
    """Return a model's name as it is.

    Raises:
        ValueError: if it cannot be sent.

    """
    try:
        model.encode()
    except UnicodeEncodeError:
        raise ValueError(f"model is {model!r}, expected the name of a model in Unicode") from None
    return model

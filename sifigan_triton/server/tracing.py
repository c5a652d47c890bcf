"""Tracing: the arguments with which Triton sends a trace of each request to an OpenTelemetry collector.

The server of the wheel has the exporter compiled in: OTLP over HTTP, as JSON. A trace that the client began (the W3C
header `traceparent`) goes on; each request has a span, and each step of the ensemble one below it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from sifigan_triton.server.triton_wheel import ServerError

SERVICE = "sifigan-triton"
"""The resource attribute `service.name` of all spans."""
_PATH = "/v1/traces"
"""Where collectors take traces, by the OTLP specification."""


def flags(url: str) -> tuple[str, ...]:
    """Return the arguments of `tritonserver` that switch tracing on.

    Args:
        url: the collector's address, such as http://127.0.0.1:4318; without a path, traces go to /v1/traces.

    Raises:
        ServerError: if it is no such address.

    """
    settings = {
        "mode": "opentelemetry",
        "opentelemetry,url": _collector(url),
        "opentelemetry,resource": f"service.name={SERVICE}",
        "rate": "1",  # every request; collectors sample
        "count": "-1",
        "level": "TIMESTAMPS",
    }
    return tuple(f"--trace-config={key}={value}" for key, value in settings.items())


def _collector(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _malformed(url, str(error)) from None
    problem = None
    if parts.scheme != "http":
        problem = "it does not begin with http://"
    elif not parts.hostname:
        problem = "it names no host"
    elif port == 0:
        problem = "0 is no port"
    elif parts.username is not None or parts.password is not None:
        problem = "everyone on the machine can read a key in it: let a collector of this machine add it"
    elif parts.query or parts.fragment or not url.isascii() or not url.isprintable() or set(url) & set(' ,="\\'):
        problem = "it has more than a host, a port and a path"
    if problem is not None:
        raise _malformed(url, problem)
    return url if parts.path.strip("/") else f"{url.rstrip('/')}{_PATH}"


def _malformed(url: str, problem: str) -> ServerError:
    return ServerError(
        f"the address of the OTLP collector is {url[:200]!r}, expected http://HOST:PORT, such as "
        f"http://127.0.0.1:4318: {problem}"
    )

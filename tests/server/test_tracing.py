"""Traces of the real server reach a collector: a request, its steps, and the client's own trace around them."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from sifigan_triton.server import tracing
from sifigan_triton.server.triton_server import ServerError, TritonServer
from tests.ensemble.stand_in import KIND, VOICE, stage
from tests.small_voice import random_features

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PATIENCE_S = 30.0


@pytest.mark.parametrize(
    ("url", "sent_to"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://collector/", "http://collector/v1/traces"),
        ("http://[::1]:4318/otlp/v1/traces", "http://[::1]:4318/otlp/v1/traces"),
    ],
)
def test_address_of_the_collector(url: str, sent_to: str) -> None:
    assert f"--trace-config=opentelemetry,url={sent_to}" in tracing.flags(url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("127.0.0.1:4318", "does not begin with http://"),
        ("grpc://127.0.0.1:4317", "does not begin with http://"),
        ("https://collector", "does not begin with http://"),
        ("http://", "names no host"),
        ("http://host:70000", "Port out of range"),
        ("http://host:0", "0 is no port"),
        ("http://[::1", "Invalid IPv6 URL"),
        ("http://me:secret@host", "can read a key in it"),
        ("http://host/?key=1", "has more than"),
        ("http://host,rate=5", "has more than"),
        ("http://host/a b", "has more than"),
    ],
)
def test_no_address_of_a_collector(url: str, problem: str) -> None:
    with pytest.raises(ServerError, match=f"expected http://HOST:PORT.*{re.escape(problem)}"):
        tracing.flags(url)


@dataclass(frozen=True)
class Span:
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    service: str


class Collector:
    """What takes traces over OTLP/HTTP, as JSON."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/json")
                collector.spans += list(decode(json.loads(body)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of_request(self, request: str) -> list[Span]:
        """Return all spans of the trace in which a request of this id is, when that of each part has come."""
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            spans = list(self.spans)
            for span in spans:
                if span.name == "sifigan" and span.attributes.get("triton.request_id") == request:
                    found = [other for other in spans if other.trace == span.trace]
                    if {"InferRequest", "preprocess", KIND.model, "postprocess"} <= {other.name for other in found}:
                        return found
            time.sleep(0.1)
        raise AssertionError(f"no span of {request} came")


def decode(sent: dict[str, Any]) -> Iterator[Span]:
    for resource in sent["resourceSpans"]:
        service = attributes(resource["resource"])["service.name"]
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                parent = span.get("parentSpanId", "")
                yield Span(span["name"], span["traceId"], span["spanId"], parent, attributes(span), service)


def attributes(of: dict[str, Any]) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values())) for pair in of.get("attributes", ())}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def server(repository: Path, collector: Collector) -> Iterator[TritonServer]:
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    with TritonServer(repository, arguments=tracing.flags(collector.url), **ports) as running:
        yield running


def infer(server: TritonServer, protocol: str, **options: Any) -> Any:
    module: Any = {"http": tritonclient.http, "grpc": tritonclient.grpc}[protocol]
    f0 = np.full(40, 500.0, np.float32)
    mcep, bap = random_features(VOICE, f0.size)
    inputs = []
    for name, values in (("f0", f0), ("mcep", mcep), ("bap", bap)):
        inputs.append(module.InferInput(name, list(values.shape), "FP32"))
        inputs[-1].set_data_from_numpy(values)
    with module.InferenceServerClient(server.http_url if protocol == "http" else server.grpc_url) as client:
        return client.infer("sifigan", inputs, **options).as_numpy("waveform")


@pytest.mark.server
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_request_and_its_steps_stand_in_the_client_s_trace(
    server: TritonServer, collector: Collector, protocol: str
) -> None:
    trace = TRACE[:-4] + protocol.encode().hex()[:4]  # one for each protocol
    # Triton 2.51 loses the client's trace in one of some forty calls over gRPC: three times in a row is something else.
    for attempt in range(3 if protocol == "grpc" else 1):
        request = f"sung-{protocol}-{attempt}"
        infer(server, protocol, request_id=request, headers={"traceparent": f"00-{trace}-{PARENT}-01"})
        spans = collector.of_request(request)
        if {span.trace for span in spans} == {trace}:
            break
    assert {span.service for span in spans} == {"sifigan-triton"}
    assert {span.trace for span in spans} == {trace}
    by_id, steps = {span.id: span for span in spans}, {"preprocess", KIND.model, "postprocess"}
    outermost = [span for span in spans if span.parent not in by_id]
    assert [(span.name, span.parent) for span in outermost] == [("InferRequest", PARENT)]
    (ensemble,) = (span for span in spans if span.name == "sifigan")
    assert ensemble.parent == outermost[0].id
    below = {span.name: span for span in spans if span.parent == ensemble.id}
    assert steps <= below.keys()
    assert {below[step].attributes["triton.request_id"] for step in steps} == {request}


@pytest.mark.server
def test_a_request_without_a_trace_begins_one(server: TritonServer, collector: Collector) -> None:
    infer(server, "http", request_id="first")
    infer(server, "http", request_id="second")
    traces = [{span.trace for span in collector.of_request(name)} for name in ("first", "second")]
    assert all(len(found) == 1 for found in traces)
    assert traces[0] != traces[1]


@pytest.mark.server
def test_without_a_collector_requests_are_answered(repository: Path) -> None:
    closed = Collector()
    closed.server.server_close()
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    with TritonServer(repository, arguments=tracing.flags(closed.url), **ports) as running:
        assert all(infer(running, "http").shape == (40 * VOICE.hop_size,) for _ in range(3))

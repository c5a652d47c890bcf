"""The configuration of the proxy before Triton: a bounded number of calls, of a bounded size, and nothing but calls.

Source: Envoy's API, version 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Config = dict[str, Any]

CLOSED = "sifigan.closed"
"""Percentage of the inference calls that are refused: 100 while the server starts, restarts or stops, else 0."""
SECOND = "sifigan.second"
"""Percentage of the calls that go to the second of two Tritons: 0 or 100. One serves; where another models shall serve,
the other is started on them, and then the calls are led there."""
LONG_BYTES = 2 * 2**20
"""A call with a larger body is long: 12,000 frames (one minute) of raw features."""
SHARED_VALUES = 2**28
"""Most values of a tensor in shared memory, where clients may use that."""
HEAP_BYTES = 2**30
"""Memory for bodies and answers on their way; near it the front refuses calls, then drops the largest."""
MAX_CONNECTIONS = 2000
REQUEST_S = 60
"""Seconds that a caller has to send a call."""
FLUSH_S = 60
"""Seconds without progress after which a caller who does not read its answer is dropped."""
STUCK_S = 900
"""Seconds in which nothing comes of a call, in either direction, after which it ends: far more than any takes."""
IDLE_S = 600
"""Seconds that a connection may be idle."""
SECOND_NAME = "-second"
"""How the names of the ways to the second Triton end."""
_TYPES = "type.googleapis.com/envoy.extensions"
_SERVICE = "inference.GRPCInferenceService"
_READY = (f"{_SERVICE}/ServerReady", f"{_SERVICE}/ModelReady", "grpc.health.v1.Health/Check")
_METHODS = tuple(
    f"{_SERVICE}/{name}" for name in ("ServerLive", "ServerMetadata", "ModelMetadata", "ModelConfig", "ModelStatistics")
)
_MODEL = "/v2/models/[^/]+(/versions/[0-9]+)?"


@dataclass(frozen=True)
class Limits:
    """How much the front lets through."""

    in_flight: int = 8
    """Calls that Triton works on at once, over each of HTTP and gRPC."""
    request_bytes: int = 64 * 2**20
    """Largest body of a call."""

    @property
    def long_in_flight(self) -> int:
        """Calls of more than `LONG_BYTES`, which have places of their own beside the others: they keep none out."""
        return max(1, self.in_flight // 4)


@dataclass(frozen=True)
class Ports:
    """Ports of one server, by protocol."""

    http: int
    grpc: int
    metrics: int


def front_config(
    host: str, ports: Ports, tritons: tuple[Ports, Ports], limits: Limits, admin: Path, client_shared_memory: bool
) -> Config:
    """Return Envoy's configuration.

    Args:
        host: the address to listen on.
        ports: those to listen on.
        tritons: those of the two Tritons between which calls can be switched, on 127.0.0.1.
        limits: how much is let through.
        admin: the socket through which the front is told what to do.
        client_shared_memory: whether clients may register shared memory.

    """
    http = [
        *_inference({"safe_regex": {"regex": f"{_MODEL}/infer"}}, "http"),
        _pass({"safe_regex": {"regex": "/v2(/|/models/stats)?"}}, "http"),
        _pass({"path": "/v2/health/live"}, "http"),
        _pass({"safe_regex": {"regex": f"{_MODEL}(/|/config|/stats)?"}}, "http"),
        *_ready({"safe_regex": {"regex": f"/v2/health/ready|{_MODEL}/ready"}}, "http"),
    ]
    grpc = [
        *_inference({"path": "/inference.GRPCInferenceService/ModelInfer"}, "grpc"),
        *(_pass({"path": f"/{method}"}, "grpc") for method in _METHODS),
        *(route for method in _READY for route in _ready({"path": f"/{method}"}, "grpc")),
    ]
    if client_shared_memory:
        kinds = "/v2/(system|cuda)sharedmemory/.*"
        http.append(_pass({"safe_regex": {"regex": kinds}}, "http"))
        grpc.append(_pass({"safe_regex": {"regex": "/inference.GRPCInferenceService/(System|Cuda)Shared.*"}}, "grpc"))
    metrics = [
        _pass({"path": "/metrics"}, "metrics"),
        _pass({"path": "/front/metrics"}, "admin", prefix_rewrite="/stats/prometheus"),
    ]
    script = _script("nil" if not client_shared_memory else str(SHARED_VALUES))
    own = {"pipe": {"path": str(admin)}}
    return {
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "layered_runtime": {"layers": [{"name": "admin", "admin_layer": {}}]},
        "overload_manager": _overload(),
        "stats_config": {
            "stats_matcher": {
                "inclusion_list": {
                    "patterns": [
                        {"prefix": start} for start in ("cluster.", "http.", "sifigan", "overload.", "server.")
                    ]
                }
            }
        },
        "static_resources": {
            "listeners": [
                _listener("http", host, ports.http, http, limits, script),
                _listener("grpc", host, ports.grpc, [*grpc, *http], limits, script),  # a gateway sends both kinds there
                _listener("metrics", host, ports.metrics, metrics, limits, script),
            ],
            "clusters": [
                *_clusters(tritons[0], limits, ""),
                *_clusters(tritons[1], limits, SECOND_NAME),
                _cluster("admin-other", own, 8),
            ],
        },
    }


def _clusters(triton: Ports, limits: Limits, suffix: str) -> list[Config]:
    """Return the ways to one Triton; those to the second count under the names of those to the first."""
    many, few = limits.in_flight, limits.long_in_flight
    ways = [("http", triton.http, many), ("http-long", triton.http, few), ("http-other", triton.http, 64)]
    ways += [("grpc", triton.grpc, many), ("grpc-long", triton.grpc, few), ("grpc-other", triton.grpc, 64)]
    ways += [("metrics-other", triton.metrics, 8)]
    return [
        _cluster(name, {"socket_address": {"address": "127.0.0.1", "port_value": port}}, most, suffix)
        for name, port, most in ways
    ]


def _switched(routes: Sequence[Config]) -> list[Config]:
    """Return routes, each to Triton behind one to the second Triton, which is taken if that is who serves."""
    share = {"default_value": {"numerator": 0}, "runtime_key": SECOND}
    found = []
    for route in routes:
        cluster = route.get("route", {}).get("cluster", "admin-other")
        if cluster != "admin-other":
            second = {"cluster": f"{cluster}{SECOND_NAME}"}
            found.append({"match": route["match"] | {"runtime_fraction": share}, "route": route["route"] | second})
        found.append(route)
    return found


def _inference(match: Config, protocol: str) -> list[Config]:
    """Return the routes of inference calls: refused while the server is closed, else long ones and others."""
    long = {"headers": [{"name": "x-sifigan-long", "present_match": True}]}
    repeat = {"retry_policy": {"retry_on": "reset-before-request", "num_retries": 1}}
    return [
        _closed(match),
        {"match": match | long, "route": {"cluster": f"{protocol}-long", "timeout": "0s", **repeat}},
        {"match": match, "route": {"cluster": protocol, "timeout": "0s", **repeat}},
    ]


def _ready(match: Config, protocol: str) -> list[Config]:
    """Return the routes of what tells whether calls are let through."""
    return [_closed(match), _pass(match, protocol)]


def _closed(match: Config) -> Config:
    """Return the route that refuses while the server is closed."""
    share = {"default_value": {"numerator": 100}, "runtime_key": CLOSED}
    text = "the server is starting or stopping: try again"
    return {
        "match": match | {"runtime_fraction": share},
        "direct_response": {"status": 503, "body": {"inline_string": text}},
    }


def _pass(match: Config, name: str, **route: Any) -> Config:
    """Return the route of what is no inference."""
    return {"match": match, "route": {"cluster": f"{name}-other", "timeout": "30s", **route}}


def _listener(name: str, host: str, port: int, routes: Sequence[Config], limits: Limits, script: str) -> Config:
    """Return what listens on a port."""
    rest = {"match": {"prefix": "/"}, "direct_response": {"status": 403, "body": {"inline_string": _CLOSED_TEXT}}}
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "server_name": "sifigan",
        "codec_type": "HTTP2" if name == "grpc" else "HTTP1",
        "generate_request_id": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {"idle_timeout": f"{IDLE_S}s"},
        "http2_protocol_options": {
            "max_concurrent_streams": 1000,
            "override_stream_error_on_invalid_http_message": True,  # an answer instead of a broken connection
            "initial_stream_window_size": limits.request_bytes,  # a stream holds back no more than this
            "initial_connection_window_size": limits.request_bytes,
        },
        "max_request_headers_kb": 7,  # Triton's HTTP bears 8
        "request_headers_timeout": "10s",
        "request_timeout": f"{REQUEST_S}s",
        "stream_idle_timeout": f"{STUCK_S}s",
        "stream_flush_timeout": f"{FLUSH_S}s",
        "access_log": _logs(name),
        "local_reply_config": _local_replies(limits),
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [*_switched(routes), rest]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.lua",
                "typed_config": {
                    "@type": f"{_TYPES}.filters.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": script},
                },
            },
            {"name": "router", "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"}},
        ],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": host, "port_value": port}},
        "enable_reuse_port": False,  # else a second front would listen beside this one, unnoticed
        "per_connection_buffer_limit_bytes": limits.request_bytes,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


TOO_LARGE = "the request is too large"
_IS_GRPC = {"header_filter": {"header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}}}
_CLOSED_TEXT = "closed: only inference, health, metadata and statistics are open"


def _script(most_values: str) -> str:
    """Return the Lua that looks at each call; `most_values`: of a tensor in shared memory."""
    text = Path(__file__).with_name("inspect.lua").read_text(encoding="utf-8")
    return (
        text.replace("@LONG_BYTES@", str(LONG_BYTES))
        .replace("@TOO_LARGE@", TOO_LARGE)
        .replace("@MAX_VALUES@", most_values)
    )


def _logs(name: str) -> list[Config]:
    """Return what is counted and logged of calls that were not answered with success."""
    wrong = {"status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": 400, "runtime_key": "-"}}}}
    not_ok = {"grpc_status_filter": {"statuses": ["OK"], "exclude": True}}
    failed = {"or_filter": {"filters": [wrong, {"and_filter": {"filters": [_IS_GRPC, not_ok]}}]}}
    reason = "%DYNAMIC_METADATA(envoy.filters.http.lua:reason)%"
    tags = {"reason": reason, "details": "%RESPONSE_CODE_DETAILS%", "port": name}
    counted = {
        "stat": {"name": "refusals", "tags": [{"name": tag, "value_format": text} for tag, text in tags.items()]},
        "value_fixed": 1,
    }
    line = {
        "time": "%START_TIME%",
        "level": "warning",
        "where": f"front/{name}",
        "request": "%REQ(X-REQUEST-ID)%",
        "status": "%RESPONSE_CODE%",
        "grpc_status": "%GRPC_STATUS%",
        "reason": reason,
        "details": "%RESPONSE_CODE_DETAILS%",
        "path": "%REQ(:PATH):100%",
        "bytes": "%BYTES_RECEIVED%",
        "milliseconds": "%DURATION%",
        "from": "%DOWNSTREAM_REMOTE_ADDRESS%",
    }
    return [
        {
            "name": "stats",
            "filter": failed,
            "typed_config": {
                "@type": f"{_TYPES}.access_loggers.stats.v3.Config",
                "stats_scope": {"prefix": "sifigan_front"},
                "counters": [counted],
            },
        },
        {
            "name": "stdout",
            "filter": failed,
            "typed_config": {
                "@type": f"{_TYPES}.access_loggers.stream.v3.StdoutAccessLog",
                "log_format": {"json_format": line},
            },
        },
    ]


def _local_replies(limits: Limits) -> Config:
    """Return how the front words its own answers: like Triton, in JSON, and over gRPC as a status message."""
    full = {"response_flag_filter": {"flags": ["UO"]}}
    dead = {"response_flag_filter": {"flags": ["UF", "UC", "LR", "UR"]}}
    large = {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": 413, "runtime_key": "-"}}}}
    texts: list[tuple[Config | None, str | None]] = [
        (
            full,
            f"the server has as many calls in flight as it takes ({limits.in_flight}, and {limits.long_in_flight} with "
            f"more than {LONG_BYTES:,} bytes): try again later",
        ),
        (dead, "the server went away before it answered: try again"),
        (large, f"{TOO_LARGE}, expected at most {limits.request_bytes:,} bytes: ask for less at once"),
        (None, None),
    ]
    said = "%LOCAL_REPLY_BODY% (request %REQ(X-REQUEST-ID)%)"
    mappers = []
    for condition, text in texts:
        body = {} if text is None else {"body": {"inline_string": text}}
        both = _IS_GRPC if condition is None else {"and_filter": {"filters": [condition, _IS_GRPC]}}
        plain = {"text_format_source": {"inline_string": said}}
        mappers.append({"filter": both, **body, "body_format_override": plain})
        if condition is not None:
            mappers.append({"filter": condition, **body})
    return {"mappers": mappers, "body_format": {"json_format": {"error": said}}}


def _overload() -> Config:
    """Return what keeps the front itself within its memory and connections."""
    heap, connections = (
        "envoy.resource_monitors.fixed_heap",
        "envoy.resource_monitors.global_downstream_max_connections",
    )

    def action(name: str, **trigger: Any) -> Config:
        return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": heap, **trigger}]}

    kinds = f"{_TYPES}.resource_monitors"
    return {
        "refresh_interval": "0.25s",
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 20},
        "resource_monitors": [
            {
                "name": heap,
                "typed_config": {
                    "@type": f"{kinds}.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": HEAP_BYTES,
                },
            },
            {
                "name": connections,
                "typed_config": {
                    "@type": f"{kinds}.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": MAX_CONNECTIONS,
                },
            },
        ],
        "actions": [
            action("shrink_heap", threshold={"value": 0.7}),
            action("stop_accepting_requests", threshold={"value": 0.8}),
            action("reset_high_memory_stream", scaled={"scaling_threshold": 0.85, "saturation_threshold": 0.98}),
        ],
    }


def _cluster(name: str, address: Config, in_flight: int, suffix: str = "") -> Config:
    """Return a way to Triton on which so many calls go at once; its metrics do not tell the suffix."""
    most = {"max_requests": in_flight, "max_connections": 4096, "max_pending_requests": 4096, "max_retries": in_flight}
    cluster: Config = {
        "name": f"{name}{suffix}",
        "alt_stat_name": name,
        "connect_timeout": "2s",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {
            "cluster_name": f"{name}{suffix}",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    options: Config = {"@type": f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions"}
    if name.startswith("grpc"):
        options["explicit_http_config"] = {"http2_protocol_options": {}}
    else:  # a connection that Triton closes while a call is on its way would lose it
        options["explicit_http_config"] = {"http_protocol_options": {}}
        options["common_http_protocol_options"] = {"max_requests_per_connection": 1}
    cluster["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}
    return cluster

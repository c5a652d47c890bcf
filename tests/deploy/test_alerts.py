"""The alerts, by promtool: which series fire which of them, and when. Each has a page in the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.chart import ROOT, VALUES, find, manifests

PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing: apt-get install prometheus")

CHANGE, SOON, LATE, VERY_LATE = 35, 37, 75, 160
"""Minutes: all is well until then; no alert that waits has fired; all have; those of long ranges have, too."""
SERIES = 'namespace="audio",job="voice-sifigan-triton-headless",pod="voice-0"'
ENGINE = 'model="sifigan-openvino-fp32"'
Rates = tuple[float, float]
"""Increase a minute before and after the change; of a gauge its values."""
GAUGES = ("up", "envoy_overload")

GATEWAY = 'up{namespace="audio",job="audio/voice-sifigan-triton-gateway",pod="gateway-0"}'
HEALTHY: dict[str, Rates] = {
    GATEWAY: (1, 1),
    'up{metrics_path="/metrics"}': (1, 1),
    'up{metrics_path="/front/metrics"}': (1, 1),
    'sifigan_requests_total{model="preprocess"}': (600, 600),
    f"sifigan_requests_total{{{ENGINE}}}": (590, 590),
    f"sifigan_wait_seconds_total{{{ENGINE}}}": (60, 60),
    'sifigan_wait_seconds_total{model="preprocess"}': (6000, 6000),
    f"nv_inference_queue_duration_us{{{ENGINE}}}": (9e9, 9e9),
    f'sifigan_refusals_total{{{ENGINE},fault="server",reason="engine"}}': (0, 0),
    'sifigan_refusals_total{model="postprocess",fault="load",reason="no_room"}': (0, 0),
    'sifigan_refusals_total{model="preprocess",fault="load",reason="deadline"}': (5, 5),
    'sifigan_refusals_total{model="preprocess",fault="client",reason="value"}': (100, 100),
    'sifigan_restarts_total{model="preprocess"}': (0, 0),
    'sifigan_frames_total{model="preprocess"}': (9e5, 9e5),
    f"sifigan_padded_frames_total{{{ENGINE}}}": (8e5, 8e5),
    'sifigan_padded_frames_total{model="preprocess"}': (9e6, 9e6),
    'envoy_cluster_upstream_rq_total{envoy_cluster_name="http"}': (600, 600),
    'envoy_cluster_upstream_rq_active_overflow{envoy_cluster_name="http"}': (5, 5),
    'envoy_cluster_upstream_rq_active_overflow{envoy_cluster_name="http-other"}': (600, 600),
    'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="http",le="10000"}': (596, 596),
    'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="http",le="30000"}': (600, 600),
    'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="http",le="+Inf"}': (600, 600),
    "envoy_overload_envoy_resource_monitors_fixed_heap_pressure": (70, 70),
}
"""Values near to what fires nothing, in the shape of the real server's pages (test_metrics.py)."""


@dataclass(frozen=True)
class Case:
    changed: dict[str, Rates | None]
    """None: the series is not there."""
    soon: frozenset[str] = frozenset()
    """Alerts that fire two minutes after the change."""
    late: frozenset[str] = frozenset()
    """Alerts that fire long after it."""
    minute: int = LATE


def case(changed: dict[str, Rates | None], soon: str = "", late: str = "", minute: int = LATE) -> Case:
    assert changed.keys() <= HEALTHY.keys()
    return Case(changed, frozenset(soon.split()), frozenset(late.split()), minute)


NO_ROOM = 'sifigan_refusals_total{model="postprocess",fault="load",reason="no_room"}'
CASES = {
    "healthy": case({}),
    "nobody is scraped": case(
        dict.fromkeys(('up{metrics_path="/metrics"}', 'up{metrics_path="/front/metrics"}')),
        late="SifiganNoMetrics",
        soon="SifiganNoMetrics",
    ),
    "no gateway": case({GATEWAY: (1, 0)}, late="SifiganGatewayDown"),
    "Triton away": case({'up{metrics_path="/metrics"}': (1, 0)}, late="SifiganServerDown"),
    "pod away": case({'up{metrics_path="/front/metrics"}': (1, 0)}, late="SifiganServerDown"),
    "an engine fails": case(
        {f'sifigan_refusals_total{{{ENGINE},fault="server",reason="engine"}}': (0, 1)},
        soon="SifiganServerFault",
        late="SifiganServerFault",
    ),
    "one start after a fault, each half hour": case(
        {'sifigan_restarts_total{model="preprocess"}': (0, 1 / 30)}, soon="SifiganRestarted", late="SifiganRestarted"
    ),
    "a start each five minutes": case(
        {'sifigan_restarts_total{model="preprocess"}': (0, 1 / 5)},
        soon="SifiganRestarted",
        late="SifiganRestarted SifiganKeepsRestarting",
    ),
    "overload": case(
        {'envoy_cluster_upstream_rq_active_overflow{envoy_cluster_name="http"}': (5, 7)}, late="SifiganOverloaded"
    ),
    "engine saturated": case({f"sifigan_wait_seconds_total{{{ENGINE}}}": (60, 270)}, late="SifiganEngineSaturated"),
    "a native engine saturated": case(
        {
            f"sifigan_wait_seconds_total{{{ENGINE}}}": None,
            f"nv_inference_queue_duration_us{{{ENGINE}}}": (60e6, 270e6),
        },
        late="SifiganEngineSaturated",
    ),
    "slow": case(
        {'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="http",le="10000"}': (596, 590)}, late="SifiganSlow"
    ),
    "deadlines": case(
        {'sifigan_refusals_total{model="preprocess",fault="load",reason="deadline"}': (5, 7)},
        late="SifiganDeadlinesMissed",
    ),
    "no room": case({NO_ROOM: (0, 1)}, soon="SifiganNoRoom", late="SifiganNoRoom"),
    "the proxy is full": case(
        {"envoy_overload_envoy_resource_monitors_fixed_heap_pressure": (70, 85)}, late="SifiganProxyFull"
    ),
    "padding": case({f"sifigan_padded_frames_total{{{ENGINE}}}": (8e5, 10e5)}, late="SifiganPadding", minute=VERY_LATE),
    "wrong requests": case(
        {'sifigan_refusals_total{model="preprocess",fault="client",reason="value"}': (100, 140)},
        late="SifiganClientErrors",
    ),
}


def rules() -> dict[str, Any]:
    spec: dict[str, Any] = find(manifests("cpu"), "PrometheusRule")["spec"]
    return spec


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule}


def promtool(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROMTOOL), *words], cwd=folder, capture_output=True, text=True)


def series(name: str, rates: Rates) -> dict[str, str]:
    """Return a series as promtool reads it, one value a minute."""
    metric, _, labels = name.rstrip("}").partition("{")
    one, two = rates
    if metric.startswith(GAUGES):
        values = f"{one:g}x{CHANGE} {two:g}x{VERY_LATE}"
    else:
        values = f"0+{one:g}x{CHANGE} {one * CHANGE + two:g}+{two:g}x{VERY_LATE}"
    whose = "" if "job=" in labels else SERIES
    return {"series": f"{metric}{{{','.join(filter(None, (whose, labels)))}}}", "values": values}


def expected(minute: int, names: frozenset[str]) -> dict[str, Any]:
    fired = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)]
    query = 'count by (alertname) (count by (alertname, pod) (ALERTS{alertstate="firing"}))'
    return {"expr": query, "eval_time": f"{minute}m", "exp_samples": fired}


def test_promtool_accepts_the_rules_of_every_value_set(tmp_path: Path) -> None:
    for name, values in VALUES.items():
        if values.get("prometheusRule", {}).get("enabled"):
            spec = find(manifests(name), "PrometheusRule")["spec"]
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(spec))
            done = promtool("check", "rules", f"{name}.yaml", folder=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """All cases in one run of promtool; `name` of a case stands in what it says."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [
                series(metric, rates) for metric, rates in (HEALTHY | each.changed).items() if rates is not None
            ],
            "promql_expr_test": [
                expected(CHANGE - 1, each.soon & {"SifiganNoMetrics"}),
                expected(SOON, each.soon),
                expected(each.minute, each.late),
            ],
        }
        for name, each in CASES.items()
    ]
    written = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(written))
    done = promtool("test", "rules", "tests.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    assert frozenset[str]().union(*(each.late for each in CASES.values())) == alerts().keys()


def test_every_alert_has_a_page_in_the_runbook() -> None:
    runbook = (ROOT / "docs" / "howto" / "runbook.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (Sifigan\w+)$", runbook, re.MULTILINE)
    assert headings == list(alerts())
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook_url"].endswith(f"/docs/howto/runbook.md#{name.lower()}")
        assert rule["labels"]["severity"] in ("critical", "warning", "info")

"""A real Prometheus with the chart's rules reads a real server: every query of rules and dashboard finds something."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http
import yaml
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from sifigan_triton.server.ports import PortLease
from tests.deploy.chart import ROOT, find, manifests
from tests.ensemble.stand_in import FAILING, VOICE, stage
from tests.small_voice import random_features

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is missing: apt-get install prometheus"),
]
SERVER = """
import sys
from pathlib import Path
from sifigan_triton.server.front import Limits, Ports
from sifigan_triton.server.service import Service, ServiceOptions
folder = Path(sys.argv[1])
served = Service(ServiceOptions(folder / "models", (), ports=Ports(0, 0, 0), limits=Limits(1), logs=folder))
served.run(lambda: print(served.http_url, served.metrics_url, flush=True))
"""
PATIENCE_S = 60.0


@contextmanager
def process(command: list[str], folder: Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    with (folder / f"{Path(command[0]).name}.log").open("w") as log:
        started = subprocess.Popen(command, stderr=log, text=True, **options)
        try:
            yield started
        finally:
            started.terminate()
            started.wait(60)


class Prometheus:
    """A running Prometheus that reads a server as the chart's ServiceMonitor says."""

    def __init__(self, folder: Path, target: str, port: int) -> None:
        found = manifests("cpu")
        spec = find(found, "PrometheusRule")["spec"]
        (folder / "rules.yaml").write_text(yaml.safe_dump(spec))
        labels = {"namespace": "audio", "pod": "voice-0"}
        scrapes = []
        for endpoint in find(found, "ServiceMonitor")["spec"]["endpoints"]:
            (relabel,) = endpoint["relabelings"]
            scrapes.append(
                {
                    "job_name": endpoint["path"],
                    "metrics_path": endpoint["path"],
                    "static_configs": [{"targets": [target], "labels": labels}],
                    "relabel_configs": [
                        {"source_labels": relabel["sourceLabels"], "target_label": relabel["targetLabel"]},
                        {"target_label": "job", "replacement": "voice-sifigan-triton-headless"},
                    ],
                }
            )
        times = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config = {"global": times, "rule_files": ["rules.yaml"], "scrape_configs": scrapes}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self.command = [
            "prometheus",
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, what: str, **parameters: str) -> Any:
        with urllib.request.urlopen(f"{self._url}/{what}?{urllib.parse.urlencode(parameters)}") as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def alerts(self) -> set[str]:
        """Return what fires, or will if it lasts."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"]}


def infer(url: str, deviations: float = 0.0, f0: float = 500.0) -> str:
    """Make a call; returns what became of it: "", or the refusal."""
    mcep, bap = random_features(VOICE, 100)
    mcep[:, 0] += deviations * VOICE.mcep.scale[0]
    inputs = []
    for name, values in (("f0", np.full(100, f0, np.float32)), ("mcep", mcep), ("bap", bap)):
        inputs.append(tritonclient.http.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype)))
        inputs[-1].set_data_from_numpy(values)
    try:
        with tritonclient.http.InferenceServerClient(url) as client:
            client.infer("sifigan", inputs)
    except InferenceServerException as error:
        return str(error)
    return ""


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def overload(url: str) -> None:
    """Call until one is refused because another is in flight."""
    with ThreadPoolExecutor(8) as pool:
        said = Counter(answer[:80] for answer in pool.map(lambda _: infer(url), range(24)))
    assert any("as many calls in flight as it takes" in each for each in said), said


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has seen calls, wrong calls, an engine that failed, and more calls than are let in."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "models").mkdir()
    stage(folder / "models")
    lease = PortLease("127.0.0.1", {"prometheus": 0})
    lease.acquire()
    port = lease["prometheus"]
    lease.release()
    command = [sys.executable, "-c", SERVER, str(folder)]
    environment = os.environ | {"TMPDIR": str(folder)}
    with process(command, folder, stdout=subprocess.PIPE, cwd=ROOT, env=environment) as server:
        assert server.stdout is not None
        http_url, metrics_url = server.stdout.readline().split()
        prometheus = Prometheus(folder, metrics_url, port)
        with process(prometheus.command, folder):
            until(lambda: reachable(prometheus) and len(prometheus.query("up == 1")) == 2)
            assert infer(http_url) == ""
            assert all("f0" in infer(http_url, f0=-1.0) for _ in range(20))
            assert infer(http_url, deviations=FAILING + 5.0)
            overload(http_url)
            seen = 'envoy_sifigan_front_refusals{details=~".*overflow.*"}'
            until(lambda: bool(prometheus.query(f"{seen} and {seen} offset 2s")))
            yield prometheus


def reachable(prometheus: Prometheus) -> bool:
    try:
        return bool(prometheus.ask("status/runtimeinfo"))
    except OSError:
        return False


def rules() -> list[dict[str, Any]]:
    return [rule for group in find(manifests("cpu"), "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]


def panels() -> list[tuple[str, str]]:
    """Return title and query of each line of the dashboard."""
    dashboard = find(manifests("cpu"), "ConfigMap", "voice-sifigan-triton-dashboard")
    (text,) = dashboard["data"].values()
    return [
        (panel["title"], target["expr"].replace("$__rate_interval", "1m"))
        for panel in json.loads(text)["panels"]
        for target in panel["targets"]
    ]


def test_every_series_of_rules_dashboard_and_scaling_exists(watched: Prometheus) -> None:
    adapter = yaml.safe_load((ROOT / "deploy" / "prometheus-adapter.yaml").read_text(encoding="utf-8"))
    scaled_by = [rule["seriesQuery"] for rule in adapter["rules"]["custom"]]
    queries = [rule["expr"] for rule in rules()] + [query for _, query in panels()] + scaled_by
    selectors = {found for query in queries for found in re.findall(r"[a-z_:][\w:]*\{[^}]*\}", query)}
    assert len(selectors) > 25
    selectors = {selector for selector in selectors if "-gateway" not in selector}  # another scrape: it is not here
    until(lambda: bool(watched.query("release:sifigan_overload:ratio5m")))
    assert [selector for selector in sorted(selectors) if not watched.query(selector)] == []


def test_every_line_of_the_dashboard_has_values(watched: Prometheus) -> None:
    until(lambda: bool(numbers(watched.query("release:sifigan_call_seconds:p99_5m"))))  # Envoy counts it every 5 s
    empty = [(title, query) for title, query in panels() if not numbers(watched.query(query))]
    assert empty == []


def numbers(found: list[dict[str, Any]]) -> list[float]:
    return [value for each in found if not np.isnan(value := float(each["value"][1]))]


def test_what_the_servers_are_scaled_by_has_the_name_that_the_adapter_gives_it() -> None:
    adapter = yaml.safe_load((ROOT / "deploy" / "prometheus-adapter.yaml").read_text(encoding="utf-8"))
    (rule,) = adapter["rules"]["custom"]
    (metric,) = find(manifests("cpu"), "HorizontalPodAutoscaler", "voice-sifigan-triton")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert rule["seriesQuery"].partition("{")[0] in [each.get("record") for each in rules()]


def test_the_rules_are_evaluated_and_what_happened_is_alerted(watched: Prometheus) -> None:
    def health() -> Counter[str]:
        return Counter(rule["health"] for group in watched.ask("rules")["groups"] for rule in group["rules"])

    until(lambda: health() == {"ok": len(rules())})
    expected = {"SifiganServerFault", "SifiganOverloaded", "SifiganClientErrors", "SifiganGatewayDown"}
    until(lambda: expected <= watched.alerts())
    assert watched.alerts() - {"SifiganPadding"} == expected  # calls of 100 frames may be half padding

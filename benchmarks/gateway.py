"""The gateway of the chart on this machine: rendered by Helm's own code, run by the real Envoy.

Only addresses and folders differ from what stands in the cluster.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sifigan_triton.server.front.envoy import find_envoy
from sifigan_triton.server.ports import PortLease

CHART = Path(__file__).parent.parent / "deploy" / "helm" / "sifigan-triton"
START_S = 30.0
FOLDERS = ("sifigan-keys", "sifigan-tls")
"""Where Secrets are mounted, below /etc."""


def render(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the manifests that the chart makes of values.

    Raises:
        ValueError: if it makes none, with Helm's reason.

    """
    done = subprocess.run(
        [sys.executable, "-c", _RENDER, str(CHART)], input=json.dumps(values), capture_output=True, text=True
    )
    if done.returncode:
        raise ValueError(done.stderr.strip().rpartition("\n")[2])
    manifests = [text for name, text in json.loads(done.stdout).items() if not name.endswith(".txt")]
    return [document for text in manifests for document in yaml.safe_load_all(text) if document]


_RENDER = """
import json, sys
from helm_python.chart import Chart

with Chart.load(sys.argv[1]) as chart:
    print(json.dumps(chart.render(values=json.load(sys.stdin), name="voices", namespace="speech")))
"""
"""In a process of its own: Helm's Go and OpenVINO in one process end it by a signal."""


def manifest(manifests: Sequence[Mapping[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """Return one of the manifests, by the end of its name."""
    (found,) = (one for one in manifests if one["kind"] == kind and one["metadata"]["name"].endswith(name))
    return dict(found)


class Gateway:
    """A running Envoy with the chart's configuration."""

    def __init__(self, folder: Path, servers: Sequence[str], values: Mapping[str, Any]) -> None:
        """Start it and return when it takes calls.

        Args:
            folder: its own; Secrets that are mounted lie in `FOLDERS` below it.
            servers: gRPC addresses of the servers, as "127.0.0.1:8001".
            values: those of the chart.

        Raises:
            RuntimeError: if it does not start.

        """
        self.folder, self._log = folder, folder / "gateway.log"
        self._lease = PortLease("127.0.0.1", {"http": 0, "grpc": 0, "metrics": 0, "admin": 0})
        self._lease.acquire()
        self.manifests = render(values)
        for name, text in manifest(self.manifests, "ConfigMap", "-gateway")["data"].items():
            (folder / name).write_text(re.sub(r"/etc/(sifigan\b)", rf"{folder}/\1", text), encoding="utf-8")
        (folder / "sifigan").symlink_to(folder)
        self.config = yaml.safe_load((folder / "envoy.yaml").read_text(encoding="utf-8"))
        self._here(servers)
        (folder / "envoy.yaml").write_text(yaml.safe_dump(self.config), encoding="utf-8")
        container = manifest(self.manifests, "Deployment", "-gateway")["spec"]["template"]["spec"]["containers"][0]
        arguments = [re.sub(r"^/etc/sifigan\b", str(folder), text) for text in container["args"]]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([str(find_envoy()), *arguments], stdout=log, stderr=log)
        self._wait()

    def _here(self, servers: Sequence[str]) -> None:
        """Put this machine's addresses into the configuration."""
        resources = self.config["static_resources"]
        admin = {"address": "127.0.0.1", "port_value": self._lease["admin"]}
        self.config["admin"]["address"] = {"socket_address": admin}
        for listener in resources["listeners"]:
            port = self._lease[listener["name"]]
            listener["address"] = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        places = {"admin": [admin], "servers": []}
        for server in servers:
            host, _, port = server.rpartition(":")
            places["servers"].append({"address": host, "port_value": int(port)})
        for cluster in resources["clusters"]:
            endpoints = [{"endpoint": {"address": {"socket_address": place}}} for place in places[cluster["name"]]]
            cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]

    def url(self, name: str) -> str:
        """Return "host:port" of http, grpc, metrics or admin."""
        return self._lease.url(name)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    @property
    def log(self) -> str:
        """What it has said: a line for each call."""
        return self._log.read_text(encoding="utf-8")

    def stats(self, start: str) -> dict[str, int]:
        """Return its counts whose names begin so."""
        status, text = self._ask("admin", f"/stats?filter=%5E{start}")
        assert status == 200
        pairs = (line.rpartition(": ") for line in text.splitlines())
        return {name: int(value) for name, _, value in pairs if value.isdigit()}

    def drain(self, seconds: int, most: int) -> subprocess.Popen[bytes]:
        """Do what a pod does before it is told to stop."""
        environment = os.environ | {"ADMIN_PORT": str(self._lease["admin"])}
        script = str(self.folder / "drain.sh")
        return subprocess.Popen(["/bin/bash", script, str(seconds), str(most)], env=environment)

    def stop(self) -> None:
        """End it as Kubernetes does after the drain."""
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._lease.release()

    def _ask(self, name: str, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.url(name), timeout=10.0)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def _wait(self) -> None:
        """Ask as the startup probe does."""
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if self._ask("metrics", "/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        said = self.log[-2000:]
        self.stop()
        raise RuntimeError(f"the gateway did not start:\n{said}")

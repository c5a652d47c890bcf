"""The chart as Helm's own code renders it, without a cluster.

    python -m tests.deploy.chart FOLDER

writes the manifests of each value set into a folder, for linters.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "deploy" / "helm" / "sifigan-triton"
RELEASE, NAMESPACE = "voice", "audio"
VALUES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((CHART / "ci").glob("*.yaml"))}
"""Value sets that together turn on everything."""
Manifest = dict[str, Any]


_HELM = """
import json, sys
import helm_python

path, name, namespace = sys.argv[1:]
for line in sys.stdin:
    what, values = json.loads(line)
    try:
        if what == "lint":
            said = helm_python.lint(path, values, strict=True, namespace=namespace)
        else:
            with helm_python.Chart.load(path) as chart:
                said = chart.render(values, name=name, namespace=namespace)
        print(json.dumps([said, ""]), flush=True)
    except helm_python.HelmError as error:
        print(json.dumps([None, str(error)]), flush=True)
"""
"""In a process of its own, for all tests of one process: Helm's Go and OpenVINO in one process end it by a signal."""


class HelmError(ValueError):
    """What Helm refuses, with its reason."""


@cache
def _helm() -> subprocess.Popen[str]:
    """Start the process; it ends with this one, which closes its input."""
    command = [sys.executable, "-c", _HELM, str(CHART), RELEASE, NAMESPACE]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ask(what: str, values: dict[str, Any]) -> Any:
    helm = _helm()
    assert helm.stdin is not None
    assert helm.stdout is not None
    helm.stdin.write(json.dumps([what, values]) + "\n")
    helm.stdin.flush()
    said, error = json.loads(helm.stdout.readline())
    if error:
        raise HelmError(error)
    return said


def lint(values: dict[str, Any]) -> dict[str, Any]:
    """Return what `helm lint --strict` finds."""
    found: dict[str, Any] = _ask("lint", values)
    return found


def render_files(values: dict[str, Any]) -> dict[str, str]:
    """Render all templates; returns their texts by name.

    Raises:
        HelmError: if Helm refuses the values.

    """
    files: dict[str, str] = _ask("render", values)
    return files


def render(values: dict[str, Any]) -> list[Manifest]:
    """Render all manifests."""
    files = {name: text for name, text in render_files(values).items() if not name.endswith(".txt")}
    return [manifest for text in files.values() for manifest in yaml.safe_load_all(text) if manifest]


@cache
def manifests(name: str) -> tuple[Manifest, ...]:
    """Return the manifests of a value set; "" is the chart's own values."""
    return tuple(render(VALUES[name] if name else {}))


def find(found: tuple[Manifest, ...] | list[Manifest], kind: str, name: str | None = None) -> Manifest:
    """Return the one manifest of a kind, or the one of this name."""
    (one,) = (each for each in found if each["kind"] == kind and name in (None, each["metadata"]["name"]))
    return one


def pods(found: tuple[Manifest, ...]) -> list[tuple[str, Manifest, Manifest]]:
    """Return what runs: what it is, the labels of its pods, and their specification."""
    result = []
    for each in found:
        what, spec = f"{each['kind']} {each['metadata']['name']}", each.get("spec", {})
        if each["kind"] == "Pod":
            result.append((what, each["metadata"]["labels"], spec))
        elif each["kind"] == "CronJob":
            template = spec["jobTemplate"]["spec"]["template"]
            result.append((what, template["metadata"]["labels"], template["spec"]))
        elif each["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            result.append((what, spec["template"]["metadata"]["labels"], spec["template"]["spec"]))
        elif each["kind"] == "InferenceService":
            (runtime,) = (other for other in found if other["kind"] == "ClusterServingRuntime")
            merged = spec["predictor"] | {key: runtime["spec"][key] for key in ("containers", "volumes")}
            result.append((what, spec["predictor"]["labels"], merged))
    return result


def main(folder: Path) -> None:
    """Write the manifests of each value set."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in VALUES:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(manifests(name), sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

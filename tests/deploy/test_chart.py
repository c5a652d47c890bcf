"""The chart: what Helm, Kubernetes' schemas and a linter of policies say of it, and whether its parts fit together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from policy_guard.analyzers import container_security, pod_security, rbac_analyzer, workload_analyzer
from policy_guard.models import Severity
from policy_guard.parser import parse_manifests
from referencing import Registry, Resource

from tests.deploy.chart import (
    CHART,
    VALUES,
    HelmError,
    Manifest,
    find,
    lint,
    manifests,
    pods,
    render,
    render_files,
)

SETS = ["", *VALUES]
KUBERNETES = ["1.29", "1.37"]
FOREIGN = {
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PodMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "ClusterServingRuntime": "serving.kserve.io/v1alpha1",
    "InferenceService": "serving.kserve.io/v1beta1",
}
"""Kinds that are no part of Kubernetes."""
ALLOWED = {
    "PG-CTR-001": "the pod of `helm test` ends by itself",
    "PG-CTR-002": "the same",
    "PG-IMG-004": "whether a registry wants a Secret is its user's to know",
}
"""Rules of policy-guard, of medium severity or above, that are broken on purpose."""


@pytest.mark.parametrize("name", SETS)
def test_helm_finds_nothing_wrong(name: str) -> None:
    found = lint(VALUES.get(name, {}))
    assert found["errors"] == []
    assert [message["error"] for message in found["messages"] if message["severity"] > 1] == []


@cache
def schemas(version: str) -> tuple[Path, Registry[Any]]:
    """Return the folder of a version's schemas, and their definitions."""
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    definitions = json.loads((folder / "_definitions.json").read_text(encoding="utf-8"))
    return folder, Resource.from_contents(definitions) @ Registry()


@cache
def validator(version: str, api: str, kind: str) -> Draft202012Validator:
    folder, registry = schemas(version)
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api)
    schema = json.loads((folder / f"{kind.lower()}-{group}.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema, registry=Resource.from_contents(schema) @ registry)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", SETS)
def test_manifests_are_what_kubernetes_takes(name: str, version: str) -> None:
    for each in manifests(name):
        if each["kind"] in FOREIGN:
            assert each["apiVersion"] == FOREIGN[each["kind"]]
            continue
        errors = validator(version, each["apiVersion"], each["kind"]).iter_errors(each)
        assert [(each["kind"], list(error.absolute_path), error.message) for error in errors] == []


@pytest.mark.parametrize("name", SETS)
def test_policies(name: str, tmp_path: Path) -> None:
    """Pod Security Standards "restricted", CIS benchmarks and so on, as policy-guard checks them."""
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(manifests(name)), encoding="utf-8")
    resources = parse_manifests(str(tmp_path / "all.yaml"))
    assert resources
    analyzers = (container_security, pod_security, rbac_analyzer, workload_analyzer)
    violations = [violation for each in analyzers for violation in each.analyze(resources)]
    serious = {Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM}
    assert [each for each in violations if each.severity in serious and each.rule_id not in ALLOWED] == []


@pytest.mark.parametrize("name", SETS)
def test_every_container_is_restricted(name: str) -> None:
    """What the profile "restricted" of Kubernetes demands, a file system that cannot be written, and limits."""
    for what, _, pod in pods(manifests(name)):
        assert pod["automountServiceAccountToken"] is False, what
        assert pod["securityContext"]["runAsNonRoot"] is True, what
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, what
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), what
        assert not [volume for volume in pod.get("volumes", ()) if "hostPath" in volume], what
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, what
            assert context["readOnlyRootFilesystem"] is True, what
            assert context["capabilities"] == {"drop": ["ALL"]}, what
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), what
            assert "memory" in container["resources"]["limits"], what


@pytest.mark.parametrize("name", SETS)
def test_parts_find_each_other(name: str) -> None:
    """Selectors select pods, ports have names that exist, and what is referred to is there."""
    found = manifests(name)
    running = pods(found)
    named = {(each["kind"], each["metadata"]["name"]) for each in found}
    for each in found:
        spec, what = each.get("spec", {}), f"{each['kind']} {each['metadata']['name']}"
        if each["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            selector = spec["selector"] if each["kind"] == "Service" else labels_of(each)
            chosen = [pod for _, labels, pod in running if selector.items() <= labels.items()]
            assert len(chosen) == 1, what
            ports = {port["name"] for container in chosen[0]["containers"] for port in container.get("ports", ())}
            wanted = [port["targetPort"] for port in spec.get("ports", ())]
            wanted += [port["port"] for rule in spec.get("ingress", ()) for port in rule.get("ports", ())]
            assert {port for port in wanted if isinstance(port, str)} <= ports, what
        if each["kind"] == "HorizontalPodAutoscaler":
            assert (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]) in named
    for what, _, pod in running:
        account = pod.get("serviceAccountName", "default")
        assert ("ServiceAccount", account) in named or account in ("default", "kserve-store"), what
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes, what
            for source in container.get("envFrom", ()):
                assert ("ConfigMap", source["configMapRef"]["name"]) in named, what


def labels_of(manifest: Manifest) -> dict[str, str]:
    spec = manifest["spec"]
    labels: dict[str, str] = (spec.get("selector") or spec.get("podSelector"))["matchLabels"]
    return labels


def test_prometheus_reads_each_page_of_each_pod_once() -> None:
    found = manifests("cpu")
    monitor = find(found, "ServiceMonitor")["spec"]
    selected = [
        each["metadata"]["name"]
        for each in found
        if each["kind"] == "Service"
        and monitor["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
        and "metrics" in {port["name"] for port in each["spec"]["ports"]}
    ]
    assert selected == ["voice-sifigan-triton-headless"]  # what rules and dashboard take for `job`
    assert [each["path"] for each in monitor["endpoints"]] == ["/metrics", "/front/metrics"]


def leaves(schema: dict[str, Any], values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the places of objects whose keys are fixed: those of which the schema names any."""
    if "properties" in schema:
        assert schema.get("additionalProperties") is False, path
        yield path
        assert schema["properties"].keys() == values.keys(), path
        for key, part in schema["properties"].items():
            yield from leaves(part, values[key], (*path, key))


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    places = list(leaves(schema, values))
    assert len(places) > 15
    for place in places:
        wrong: dict[str, Any] = {"typo": 1}
        for key in reversed(place):
            wrong = {key: wrong}
        with pytest.raises(HelmError, match="typo"):
            render(wrong)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limits": {"inFlight": 0}}, "inFlight"),
        ({"limits": {"requestMiB": 257}}, "requestMiB"),
        ({"engine": "fast"}, "engine"),
        ({"image": {"digest": "sha256:short"}}, "digest"),
        ({"repository": {"from": "store", "store": {"uri": "http://bucket"}}}, "uri"),
        ({"repository": {"from": "store"}}, "repository.store.uri is empty"),
        ({"repository": {"from": "claim"}}, "repository.claim.name is empty"),
        ({"repository": {"from": "claim", "claim": {"name": "a", "path": "../etc"}}}, "path"),
        ({"environment": {"A-B": "1"}}, "A-B"),
        ({"kserve": {"enabled": True}}, "kserve.storageUri is empty"),
        ({"autoscaling": {"enabled": True}}, "set prometheusRule.enabled"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_values_are_refused_with_the_reason(values: dict[str, Any], message: str) -> None:
    with pytest.raises(HelmError, match=re.escape(message)):
        render(values)


def test_the_notes_warn_of_what_is_open() -> None:
    def notes(name: str) -> str:
        return next(text for file, text in render_files(VALUES[name]).items() if file.endswith("NOTES.txt"))

    assert "WARNING: networkPolicy.enabled is false" in notes("no-network-policy")
    assert "WARNING: one replica" in notes("minimal")
    assert "WARNING" not in notes("cpu")

"""The list of the pinned packages: valid, complete, nothing more, with the hashes of what was installed."""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pip
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.conftest import ROOT
from tools.make_sbom import LOCKS, make_sbom, normal_name, read_hashes, read_pins

INSTALLED = {
    "metadata": {"component": {"bom-ref": "root"}},
    "components": [
        {"name": "Jinja2", "version": "3.1.6", "bom-ref": "j"},
        {"name": "torch", "version": "2.13.0+cpu", "bom-ref": "t"},
        {"name": "pip", "version": "1", "bom-ref": "p"},
    ],
    "dependencies": [
        {"ref": "root", "dependsOn": ["t", "p"]},
        {"ref": "t", "dependsOn": ["j"]},
        {"ref": "p"},
        {"ref": "j"},
    ],
}


def faults(sbom: dict[str, Any]) -> Any:
    """Return what the schema of CycloneDX 1.6 finds; None if nothing."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(sbom))


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command writes for this environment."""
    output = tmp_path_factory.mktemp("sbom") / "sbom.json"
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "make_sbom.py", output], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(output.read_text())
    return made


@pytest.mark.slow
def test_it_is_what_the_schema_says(sbom: dict[str, Any]) -> None:
    assert faults(sbom) is None
    broken = copy.deepcopy({**sbom, "components": sbom["components"][:1], "dependencies": []})
    assert faults(broken) is None
    del broken["components"][0]["type"]
    assert "'type' is a required property" in str(faults(broken))


@pytest.mark.slow
def test_it_lists_exactly_what_the_locks_pin(sbom: dict[str, Any]) -> None:
    listed = {normal_name(part["name"]): part["version"].partition("+")[0] for part in sbom["components"]}
    lines = [line for name in LOCKS for line in (ROOT / name).read_text().splitlines() if "==" in line]
    assert listed == dict(line.split("==") for line in lines)
    assert len(sbom["components"]) == len(lines)
    licensed = [part for part in sbom["components"] if part.get("licenses")]
    assert len(licensed) > 0.9 * len(lines)
    assert sbom["metadata"]["component"]["name"] == "sifigan-triton"
    references = {part["bom-ref"] for part in sbom["components"]} | {"root-component"}
    assert {entry["ref"] for entry in sbom["dependencies"]} == references
    assert {name for entry in sbom["dependencies"] for name in entry.get("dependsOn", ())} <= references
    hashes = read_hashes(Path(sys.prefix))
    wanted = {key: value for key, value in hashes.items() if key[0] in listed}
    got = {(normal_name(part["name"]), part["version"]): part.get("hashes") for part in sbom["components"]}
    assert all(got.get(key) == [{"alg": "SHA-256", "content": value}] for key, value in wanted.items() if key in got)


def test_what_is_not_pinned_is_left_out_with_what_points_to_it() -> None:
    made = make_sbom(copy.deepcopy(INSTALLED), {"jinja2": "3.1.6", "torch": "2.13.0"}, {("jinja2", "3.1.6"): "ab"})
    assert [part["name"] for part in made["components"]] == ["Jinja2", "torch"]
    assert made["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "ab"}]
    assert "hashes" not in made["components"][1]
    assert [(entry["ref"], entry["dependsOn"]) for entry in made["dependencies"]] == [
        ("root", ["t"]),
        ("t", ["j"]),
        ("j", []),
    ]


def test_an_environment_that_is_not_the_locks_is_refused() -> None:
    pins = {"jinja2": "3.1.7", "attrs": "26.1.0", "torch": "2.13.0"}
    with pytest.raises(ValueError, match=r"attrs none, expected 26\.1\.0; jinja2 3\.1\.6, expected 3\.1\.7: run `make"):
        make_sbom(copy.deepcopy(INSTALLED), pins, {})


def make_wheel(folder: Path, name: str, version: str) -> str:
    """Write a wheel with nothing in it; return its SHA-256."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        about = f"{name}-{version}.dist-info"
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", f"{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_hashes_are_those_of_the_wheels_that_make_setup_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real script and the real pip; a later run adds what it installs."""
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "pip").symlink_to(Path(pip.__file__).parent)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    expected = {}
    (tmp_path / "requirements-nodeps.lock").write_text("last==3.0\n")
    expected["last", "3.0"] = make_wheel(tmp_path, "last", "3.0")
    for name, version in (("first_one", "1.0"), ("second", "2.0")):
        expected[normal_name(name), version] = make_wheel(tmp_path, name, version)
        with (tmp_path / "requirements.lock").open("a") as lock:
            lock.write(f"{normal_name(name)}=={version}\n")
        done = subprocess.run(
            ["sh", ROOT / "tools" / "install_packages.sh", environment],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert read_hashes(environment) == expected
    assert read_pins([tmp_path / name for name in LOCKS]) == dict(expected.keys())

"""Write the list of what is installed where this runs (SBOM), in CycloneDX's JSON: a step of the Dockerfiles.

    python3 docker/make_sbom.py OUTPUT

The packages of Debian or Ubuntu, as dpkg knows them, and those of the Python that runs this. Standard library only
(Python 3.10 or newer).
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

FIELDS = ("binary:Package", "Version", "Architecture", "db:Status-Status")
Component = dict[str, Any]


def system_packages() -> list[Component]:
    """Return the installed packages of the distribution."""
    release = platform.freedesktop_os_release()
    query = ["dpkg-query", "--show", "--showformat", "\\t".join(f"${{{field}}}" for field in FIELDS) + "\\n"]
    lines = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()
    found = []
    for name, version, architecture, status in (line.split("\t") for line in lines):
        if status == "installed":
            package = name.partition(":")[0]
            where = f"arch={architecture}&distro={release['ID']}-{release['VERSION_ID']}"
            found.append(_component(package, version, f"pkg:deb/{release['ID']}/{package}@{quote(version)}?{where}"))
    return found


def python_packages() -> list[Component]:
    """Return the packages of this Python, with their licences as they declare them."""
    found = []
    for package in metadata.distributions():
        name = package.metadata["Name"].lower().replace("_", "-")
        component = _component(name, package.version, f"pkg:pypi/{name}@{quote(package.version)}")
        licence = package.metadata.get("License-Expression") or package.metadata.get("License")
        if licence:
            component["licenses"] = [{"license": {"name": licence.strip().splitlines()[0]}}]
        found.append(component)
    return found


def _component(name: str, version: str, purl: str) -> Component:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def main() -> None:
    """Run the command line."""
    every = {component["bom-ref"]: component for component in (*system_packages(), *python_packages())}
    sbom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": "sifigan-triton"}},
        "components": [every[reference] for reference in sorted(every)],
    }
    Path(sys.argv[1]).write_text(json.dumps(sbom, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Write the list of the pinned packages that are installed here (SBOM), in CycloneDX's JSON.

    python tools/make_sbom.py OUTPUT

Versions, licences and dependencies are those that the installed packages declare; hashes are those of the wheels that
`tools/install_packages.sh` installed. What is not pinned, such as pip and this project itself, is left out.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from sifigan_triton.files import atomic_file

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-nodeps.lock")
REPORTS = "installed-*.json"
"""What pip says about its work, in the virtual environment."""


def make_sbom(installed: dict[str, Any], pins: dict[str, str], hashes: dict[tuple[str, str], str]) -> dict[str, Any]:
    """Return what of an SBOM is pinned.

    Args:
        installed: SBOM of an environment.
        pins: version of each package, by its normal name.
        hashes: SHA-256 of each wheel, in hexadecimal, by normal name and version.

    Raises:
        ValueError: naming the packages that are not installed as they are pinned.

    """
    components = {normal_name(component["name"]): component for component in installed["components"]}
    got = {name: components[name]["version"].partition("+")[0] if name in components else "none" for name in pins}
    wrong = [f"{name} {got[name]}, expected {pins[name]}" for name in sorted(pins) if got[name] != pins[name]]
    if wrong:
        raise ValueError(f"the environment is not what the locks say: {'; '.join(wrong)}: run `make setup`")
    kept = [components[name] for name in sorted(pins)]
    for component in kept:
        if sha256 := hashes.get((normal_name(component["name"]), component["version"])):
            component["hashes"] = [{"alg": "SHA-256", "content": sha256}]
    known = {component["bom-ref"] for component in kept} | {installed["metadata"]["component"]["bom-ref"]}
    dependencies = [
        {**entry, "dependsOn": [name for name in entry.get("dependsOn", ()) if name in known]}
        for entry in installed["dependencies"]
        if entry["ref"] in known
    ]
    return {**installed, "components": kept, "dependencies": dependencies}


def read_pins(locks: list[Path]) -> dict[str, str]:
    """Return the version of each package that the locks pin, by its normal name."""
    lines = [line for lock in locks for line in lock.read_text(encoding="utf-8").splitlines()]
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normal_name(name): version for name, version in pins}


def read_hashes(environment: Path) -> dict[tuple[str, str], str]:
    """Return the SHA-256 of the wheels that were installed into an environment, by normal name and version."""
    hashes = {}
    for file in sorted(environment.glob(REPORTS)):
        for wheel in json.loads(file.read_text(encoding="utf-8"))["install"]:
            package, archive = wheel["metadata"], wheel["download_info"]["archive_info"]
            hashes[normal_name(package["name"]), package["version"]] = archive["hashes"]["sha256"]
    return hashes


def normal_name(name: str) -> str:
    """Return a package's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def list_installed() -> dict[str, Any]:
    """Return the SBOM of the environment that runs this, the same bytes for the same packages.

    Not checked against CycloneDX's schema, which takes ten times as long: the tests do that with what is written.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--spec-version", "1.6"]
    command += ["--no-validate", "--pyproject", str(ROOT / "pyproject.toml"), sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sbom: dict[str, Any] = json.loads(done.stdout)
    return sbom


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write the list of the pinned packages (CycloneDX, JSON).")
    parser.add_argument("output", type=Path, help="the file to write, such as build/sbom.json")
    args = parser.parse_args()
    hashes = read_hashes(Path(sys.prefix))
    try:
        sbom = make_sbom(list_installed(), read_pins([ROOT / name for name in LOCKS]), hashes)
    except ValueError as error:
        sys.exit(f"make_sbom.py: {error}")
    with atomic_file(args.output) as file:
        file.write(json.dumps(sbom, indent=1, sort_keys=True).encode() + b"\n")
    hashed, licensed = (sum(1 for part in sbom["components"] if part.get(key)) for key in ("hashes", "licenses"))
    print(f"{args.output}: {len(sbom['components'])} packages, {hashed} with hashes, {licensed} with licences")


if __name__ == "__main__":
    main()

"""Ask which of the pinned packages have known vulnerabilities: a report, which stops nothing.

    python tools/audit.py [--service URL] [--output FILE]

pip-audit asks a service that speaks OSV's interface, package by package. Where the service cannot be asked, as in a
network with a package mirror only, the report says so: that is not the same as "none known".
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sifigan_triton.files import atomic_file

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-nodeps.lock")
SERVICE = "https://api.osv.dev/v1/query"


def ask(locks: list[Path], service: str) -> dict[str, Any]:
    """Return what pip-audit says, `{"dependencies": [...]}`, or `{"error": ...}` if the service could not be asked."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--osv-url", service]
    command += ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]  # exactly the pins
    for lock in locks:
        command += ["--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:  # its exit status is 1 for findings and for failures
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return {"error": said[-1] if said else f"pip-audit ended with {done.returncode}"}
    return answer


def report(answer: dict[str, Any], service: str) -> Iterator[str]:
    """Say in lines what was found, what could not be asked, and how many packages were."""
    if "error" in answer:
        yield f"audit: {service} could not be asked, so nothing is known about the packages: {answer['error']}"
        return
    packages = answer["dependencies"]
    skipped = [package for package in packages if "skip_reason" in package]
    found = [(package, hole) for package in packages for hole in package.get("vulns", ())]
    yield f"audit: {service} knows {len(found)} vulnerabilities in {len(packages) - len(skipped)} packages"
    for package, hole in found:
        names = ", ".join([hole["id"], *sorted(hole["aliases"])])
        fixed = ", ".join(hole["fix_versions"]) or "no version"
        yield f"  {package['name']} {package['version']}: {names}: fixed in {fixed}: {hole['description'][:200]}"
    for package in skipped:
        yield f"  {package['name']}: not asked: {package['skip_reason']}"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Report known vulnerabilities of the pinned packages.")
    parser.add_argument("locks", nargs="*", type=Path, default=[ROOT / name for name in LOCKS], metavar="LOCK")
    parser.add_argument("--service", default=SERVICE, metavar="URL", help="what to ask (default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file for pip-audit's answer")
    args = parser.parse_args(arguments)
    answer = ask(args.locks, args.service)
    for line in report(answer, args.service):
        print(line)
    if args.output is not None:
        with atomic_file(args.output) as file:
            file.write(json.dumps(answer, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()

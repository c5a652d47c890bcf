"""The audit of the pinned packages, with the real pip-audit and a service that answers with a real record."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tools.audit import report

RECORD = (ROOT / "tests" / "data" / "osv-jinja2.json").read_bytes()
PINS = "jinja2==2.11.2\nattrs==26.1.0\n"


class Service(BaseHTTPRequestHandler):
    """Answers as OSV does: with `{}` for a package of which it knows nothing."""

    asked: list[tuple[str, str]]
    status: int
    answer: bytes

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((query["package"]["name"], query["version"]))
        body = self.answer if query["package"]["name"] == "jinja2" else b"{}"
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[type[Service]]:
    class OneService(Service):
        asked, status, answer, url = [], 200, RECORD, ""

    with ThreadingHTTPServer(("127.0.0.1", 0), OneService) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        OneService.url = f"http://127.0.0.1:{server.server_port}/v1/query"
        yield OneService
        server.shutdown()
        thread.join()


def audit(tmp_path: Path, url: str, pins: str = PINS) -> tuple[list[str], Any]:
    """Run the command; return its lines and its file. Whatever happens, its exit status is 0: it is a report."""
    (tmp_path / "lock").write_text(pins)
    command = [ROOT / "tools" / "audit.py", tmp_path / "lock", "--service", url, "--output", tmp_path / "audit.json"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines(), json.loads((tmp_path / "audit.json").read_text())


def test_a_known_hole_is_reported_with_its_fix(tmp_path: Path, service: Any) -> None:
    lines, answer = audit(tmp_path, service.url)
    assert sorted(service.asked) == [("attrs", "26.1.0"), ("jinja2", "2.11.2")]
    assert lines[0] == f"audit: {service.url} knows 1 vulnerabilities in 2 packages"
    assert lines[1].startswith(
        "  jinja2 2.11.2: PYSEC-2021-66, CVE-2020-28493, SNYK-PYTHON-JINJA2-1012994: fixed in 2.11.3: "
    )
    assert len(lines) == 2
    assert {package["name"]: len(package["vulns"]) for package in answer["dependencies"]} == {"jinja2": 1, "attrs": 0}


@pytest.mark.parametrize(
    ("status", "content"), [(503, b"busy"), (200, b"<html>log in</html>"), (404, b"{}")], ids=["busy", "html", "absent"]
)
def test_a_service_that_does_not_answer_is_no_clean_audit(
    tmp_path: Path, service: Any, status: int, content: bytes
) -> None:
    service.status, service.answer = status, content
    lines, answer = audit(tmp_path, service.url)
    assert lines[0].startswith(f"audit: {service.url} could not be asked, so nothing is known about the packages: ")
    assert len(lines) == 1
    assert list(answer) == ["error"]


def test_no_service_is_no_clean_audit(tmp_path: Path, service: Any) -> None:
    closed = "http://127.0.0.1:9/v1/query"
    lines, answer = audit(tmp_path, closed)
    assert lines[0].startswith(f"audit: {closed} could not be asked")
    assert "refused" in answer["error"]


def test_what_is_no_pin_is_reported(tmp_path: Path, service: Any) -> None:
    lines, _ = audit(tmp_path, service.url, "jinja2>=2\n")
    assert "could not be asked" in lines[0]


def test_every_pin_of_both_locks_is_asked(tmp_path: Path, service: Any) -> None:
    pins = [(ROOT / name).read_text() for name in ("requirements.lock", "requirements-nodeps.lock")]
    lines, answer = audit(tmp_path, service.url, "".join(pins))
    wanted = [line for line in "".join(pins).splitlines() if line and not line.startswith("#")]
    assert len(service.asked) == len(wanted) == len(answer["dependencies"])
    assert lines[0].endswith(f"in {len(wanted)} packages")


def test_a_package_that_was_not_asked_is_named() -> None:
    """So pip-audit answers for a package that the service does not know, with "no known vulnerabilities"."""
    answer = {"dependencies": [{"name": "attrs", "skip_reason": "could not be audited: attrs (26.1.0)"}]}
    assert list(report(answer, "https://x")) == [
        "audit: https://x knows 0 vulnerabilities in 0 packages",
        "  attrs: not asked: could not be audited: attrs (26.1.0)",
    ]

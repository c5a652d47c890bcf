"""The documents: links lead somewhere, lines can be read, and their code and commands run as they stand."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.conftest import ROOT

DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted(
        path
        for folder in ("docs", "measurement_data", "tools", "voices/demo")
        for path in (ROOT / folder).rglob("*.md")
    ),
]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
LONGEST = 120
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines outside code, tables and what a program wrote between its marks."""
    code = written = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif line.startswith("<!--"):
            written = "written by" in line
        elif not (code or written or line.startswith("|")):
            yield number, line


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = [line.lstrip("#").strip() for _, line in prose(path.read_text(encoding="utf-8")) if line[:1] == "#"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> list[str]:
    """Return the relative links of a document that lead nowhere."""
    broken = []
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_relative_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_no_line_is_too_long_to_read(path: Path) -> None:
    long = [(number, len(line)) for number, line in prose(path.read_text(encoding="utf-8")) if len(line) > LONGEST]
    assert long == []


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text(encoding="utf-8"))}
    assert [page.name for page in (ROOT / "docs").rglob("*.md") if page != index and page not in linked] == []


def test_files_of_ours_that_the_pages_name_exist() -> None:
    missing = []
    for path in [*(ROOT / "docs").rglob("*.md"), ROOT / "tools" / "train_demo_voice" / "README.md"]:
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:sifigan_triton|preprocess|tests|benchmarks|tools|docs|docker)/[\w/.-]+)`", text):
            if not (ROOT / name).exists():
                missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert missing == []


@cache
def options_of(*command: str) -> str:
    """Return what a command of ours says to --help."""
    program = ["build_engines.py"] if command == ("build",) else ["-m", "sifigan_triton", *command]
    return subprocess.run(
        [sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def test_commands_of_the_pages_parse() -> None:
    """Each `sifigan-triton` and `make` command of docs/ has the targets and options that it uses."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = path.read_text(encoding="utf-8").replace("\\\n", "")
        blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
        for line in [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]:
            program, *words = shlex.split(line.removeprefix(".venv/bin/").split("#")[0])
            if program == "make":
                assert f"\n{words[0]}:" in makefile, line
            if program == "sifigan-triton":
                for option in [word for word in words if word.startswith("--")]:
                    known = re.findall(r"--[a-z0-9-]+", options_of(words[0]))
                    assert option.partition("=")[0] in known, line

"""What the tests of the build look at."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.servable import read_manifest

ROOT = Path(__file__).parent.parent
OPENVINO, BF16, ONNX = ENGINES["openvino-fp32"], ENGINES["openvino-bf16"], ENGINES["onnx-fp32"]


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items()}


def smaller_windows(folder: Path) -> list[str]:
    """Return the files of the smaller windows that the OpenVINO engine of a repository is loaded with."""
    names = read_manifest(folder / OPENVINO.model / "1")["smaller_windows"]
    return sorted(names, key=lambda name: -int(name.split("/")[0]))


def openvino_engines(folder: Path) -> list[str]:
    """Return the text of the engine of each window, as `exports` logs them: the largest window's first."""
    return [(folder / OPENVINO.model / "1" / name).read_text() for name in ("model.onnx", *smaller_windows(folder))]


@contextmanager
def logged(level: int = logging.INFO) -> Iterator[list[str]]:
    """Collect what the package logs from a level on."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("sifigan_triton"), Lines()
    before = logger.level
    logger.setLevel(level)
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def leftovers(folder: Path) -> list[str]:
    """Return the staging folders beside a repository."""
    return sorted(path.name for path in folder.parent.glob(f".{folder.name}-staging-*"))

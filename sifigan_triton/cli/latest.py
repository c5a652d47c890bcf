"""Which model repository the commands use when they are not told."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_REPOSITORY = Path("model_repository")
"""Where the default build goes, and what is served before anything was built."""
LATEST = Path("build", "latest")
"""A link to the repository that was built last without naming a folder."""


def latest_repository() -> Path:
    """Return the repository that was built last, as a path that says which one it is."""
    if not LATEST.is_symlink():
        return DEFAULT_REPOSITORY
    repository = LATEST.resolve()  # also where it is gone: another voice in its place would be a surprise
    here = Path.cwd()
    return repository.relative_to(here) if repository.is_relative_to(here) else repository


def remember(repository: Path) -> None:
    """Make a repository the one that `serve`, `demo` and `benchmark` use when they are not told."""
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    link = LATEST.with_name(f".latest-{os.getpid()}")
    link.symlink_to(repository.resolve(), target_is_directory=True)
    link.replace(LATEST)

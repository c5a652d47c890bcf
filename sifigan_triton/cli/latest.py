"""Which model repository the commands use when they are not told."""

from __future__ import annotations

from pathlib import Path

DEFAULT_REPOSITORY = Path("model_repository")
"""Where the default build goes, and what is served before anything was built."""
LATEST = Path("build", "latest")
"""A link to the repository that was built last without naming a folder."""


def latest_repository() -> Path:
    """Return the repository that was built last, as a path that says which one it is."""
    if not LATEST.is_dir():
        return DEFAULT_REPOSITORY
    repository = LATEST.resolve()
    here = Path.cwd()
    return repository.relative_to(here) if repository.is_relative_to(here) else repository

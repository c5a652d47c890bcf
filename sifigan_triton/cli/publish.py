"""The commands `publish`, `rollback` and `releases`: model repositories in an object store."""

from __future__ import annotations

import argparse

from sifigan_triton.store.address import read_address
from sifigan_triton.store.publish import list_releases, publish, roll_back


def run_publish(args: argparse.Namespace) -> None:
    """Publish a repository, and switch to it."""
    done = publish(args.model_repository, read_address(args.address), switch=not args.no_switch)
    said = "servers take it from now on" if done.switched else "what is served did not change"
    print(f"{done.release.id}: {len(done.release.files)} files, {done.uploaded} uploaded; {said}")


def run_rollback(args: argparse.Namespace) -> None:
    """Switch to a release that is there."""
    address = read_address(f"{args.address}@{args.release}" if args.release else args.address)
    print(f"{roll_back(address)}: servers take it from now on")


def run_releases(args: argparse.Namespace) -> None:
    """List the releases, the newest first."""
    rows, current = list_releases(read_address(args.address))
    for row in rows:
        when = row.published.isoformat(timespec="seconds") if row.published else "not published to its end"
        mark = "  current" if current is not None and current["release"] == row.release else ""
        print(f"{row.release}  {row.files} files  {row.size / 1e6:.1f} MB  {when}{mark}")

"""`sifigan-triton bulk`: a folder of features or recordings turned into audio, by one of many workers."""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.voice import Voice
from sifigan_triton.cli import values

if TYPE_CHECKING:
    from sifigan_triton.bulk.corpus import Item
    from sifigan_triton.bulk.work import Result, Wish

INDEX = "JOB_COMPLETION_INDEX"
"""Variable in which Kubernetes tells a pod of an indexed Job which one it is."""


def add_options(sub: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    sub.add_argument("input", type=Path, metavar="IN_DIR", help="feature files (.npz) and recordings, at any depth")
    sub.add_argument("output", type=Path, metavar="OUT_DIR", help="where the audio goes, under the same names")
    sub.add_argument("--url", default="localhost:8000", help="host:port, or grpc://host:port (default: %(default)s)")
    sub.add_argument("--model", default="sifigan", help="ensemble to call (default: %(default)s)")
    sub.add_argument("--jobs", type=values.count, default=4, help="files at a time (default: %(default)s)")
    sub.add_argument("--format", choices=["wav", "flac"], default="wav", help="default: %(default)s")
    sub.add_argument("--worker", type=int, help=f"which worker this is, from 0 (default: {INDEX}, else 0)")
    sub.add_argument("--workers", type=values.count, default=1, help="how many there are (default: 1)")
    sub.add_argument("--f0-factor", type=float, default=1.0, help="factor on the pitch (default: 1)")
    sub.add_argument("--seed", type=values.seed, default=0, help="seed of the excitation's noise (default: 0)")
    sub.add_argument("--repair", action="store_true", help="let NaN and Inf be replaced by the nearest finite frame")
    sub.add_argument("--voice", type=Path, help="voice folder whose analysis settings to use (default: the usual ones)")
    sub.add_argument("--timeout", type=values.seconds, default=300.0, help="seconds for one file (default: 300)")
    sub.add_argument(
        "--patience",
        type=values.grace,
        default=600.0,
        help="seconds without any answer after which a server that is away or too busy is given up (default: 600)",
    )
    sub.add_argument(
        "--report",
        type=Path,
        metavar="R.json",
        help="where to write what failed (default: bulk-WORKER-of-WORKERS.json in OUT_DIR)",
    )


def run(args: argparse.Namespace) -> int:
    """Do the share of one worker; returns 1 if not all of it could be done."""
    from sifigan_triton.bulk.corpus import find_items, remove_leftovers, share
    from sifigan_triton.bulk.work import Wish
    from sifigan_triton.files import atomic_file

    worker = _worker(args)
    items = share(find_items(args.input, args.output, f".{args.format}"), args.output, worker, args.workers)
    remove_leftovers(args.output)
    random.shuffle(items)  # a worker that was thought dead and the one in its place seldom do the same file then
    voice = None if args.voice is None else Voice.load(args.voice / "voice.json")
    began = time.monotonic()
    result = make_files(args, items, Wish(args.f0_factor, args.seed, args.repair, voice), args.patience)
    report = args.report or args.output / f"bulk-{worker}-of-{args.workers}.json"
    told = {"worker": worker, "workers": args.workers, "files": len(items), **result.as_dict()}
    told |= {"seconds": round(time.monotonic() - began, 3)}
    with atomic_file(report) as file:
        file.write(json.dumps(told | {"errors": result.errors}, indent=2).encode("ascii"))
    print(json.dumps(told | {"report": str(report)}), flush=True)
    return 1 if result.fates["failed"] or result.fates["left"] else 0


def make_all(args: argparse.Namespace, voice: Voice | None) -> int:
    """Make the files of `synthesize` or `resynthesize` with several inputs; returns 1 if not all could be made."""
    from sifigan_triton.bulk.corpus import Item, distinct
    from sifigan_triton.bulk.work import Wish

    if args.plot is not None:
        raise ValueError("--plot draws one file: give one input")
    if args.output.exists() and not args.output.is_dir():
        raise ValueError(f"{args.output} is a file: with several inputs -o names the folder of the audio")
    recordings = args.command == "resynthesize"
    items = distinct(Item(path, args.output / f"{path.stem}.wav", recordings) for path in args.input)
    for item in items:
        if item.target.exists() and item.target.samefile(item.source):
            raise ValueError(f"{item.source} would be replaced by what is made of it: name another folder")
    result = make_files(args, items, Wish(args.f0_factor, args.seed, args.repair, voice, replace=True), 0.0)
    for reason in (*result.errors.values(), *filter(None, [result.stopped])):
        print(reason, file=sys.stderr)
    print(f"{args.output}: {result.fates['made']} of {len(items)} files, {result.audio_s:.2f} s")
    return 0 if result.fates["made"] == len(items) else 1


def make_files(args: argparse.Namespace, items: Sequence[Item], wish: Wish, patience_s: float) -> Result:
    """Make files on the server that the options name, with a bar of progress."""
    from tqdm import tqdm

    from sifigan_triton.bulk.work import Worker
    from sifigan_triton.client import SifiganClient

    if not args.verbose:  # what is told of each attempt would drown the rest
        logging.getLogger("sifigan_triton.client.retry").setLevel(logging.WARNING)
    rest_s = 0.1 if sys.stderr.isatty() else 10.0  # a log needs no more
    with (
        tqdm(total=len(items), unit="file", mininterval=rest_s, maxinterval=rest_s, file=sys.stderr) as bar,
        SifiganClient(args.url, args.model, args.timeout) as client,
    ):
        return Worker(client, wish, patience_s).run(items, args.jobs, bar.update)


def _worker(args: argparse.Namespace) -> int:
    """Return which worker this is."""
    if args.worker is not None:
        return int(args.worker)
    text = os.environ.get(INDEX, "0")
    if not text.isdecimal():
        raise ValueError(f"{INDEX} is {text!r}, expected the number of this worker; or give --worker")
    if text != "0" and args.workers == 1:
        raise ValueError(f"{INDEX} is {text}, but --workers is 1: say how many workers there are")
    return int(text)

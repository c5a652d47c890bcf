"""`sifigan-triton plan`: how many servers a traffic needs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sifigan_triton.cli import values

MEMORY_MB = 3072
"""Memory of a replica: 2,650 MB for the full-size voice with four windows (docs/notes/windows.md), and its calls."""


def add_options(sub: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    source = sub.add_argument_group("the server that is planned with").add_mutually_exclusive_group(required=True)
    source.add_argument("--times", type=Path, metavar="TIMES.json", help="its times, as --save writes them")
    source.add_argument(
        "--measure",
        metavar="HOST:PORT",
        help="measure a running server that nobody else uses meanwhile, by its HTTP port; takes some seconds",
    )
    sub.add_argument("--metrics", metavar="HOST:PORT", help="its metrics (default: port 8002 of the same host)")
    sub.add_argument("--model", default="sifigan", help="ensemble to measure (default: %(default)s)")
    sub.add_argument("--rounds", type=values.count, default=5, help="rounds of measuring (default: %(default)s)")
    sub.add_argument("--cores", type=values.count, help="cores that the measured server has; needed with --measure")
    sub.add_argument("--save", type=Path, metavar="TIMES.json", help="write the measured times")
    traffic = sub.add_argument_group("the traffic")
    rate = traffic.add_mutually_exclusive_group(required=True)
    rate.add_argument("--rate", type=values.positive, help="calls a second, at random moments (Poisson)")
    rate.add_argument("--audio-rate", type=values.positive, help="or seconds of audio a second, in such calls")
    traffic.add_argument("--lengths", type=Path, metavar="FILE", help="lengths of calls: seconds of audio, one a line")
    traffic.add_argument(
        "--log-normal",
        type=values.positive,
        nargs=2,
        metavar=("MEDIAN", "P95"),
        help="or their median and 95th percentile in seconds (default: the requests of measurement_data/)",
    )
    promise = sub.add_argument_group("what callers get")
    promise.add_argument("--p99", type=values.positive, required=True, help="seconds that one answer in 100 may exceed")
    promise.add_argument(
        "--refused", type=values.share, default=0.001, help="share of calls that may be refused (default: %(default)g)"
    )
    fleet = sub.add_argument_group("the fleet")
    fleet.add_argument(
        "--max-in-flight", type=values.in_flight, default=8, help="of each server, as `serve` has it (default: 8)"
    )
    fleet.add_argument(
        "--tries", type=values.count, default=1, help="servers that the balancer asks while they refuse (default: 1)"
    )
    fleet.add_argument(
        "--memory-mb", type=values.count, default=MEMORY_MB, help="memory of a replica (default: %(default)s)"
    )
    fleet.add_argument("--price", type=values.positive, help="of an hour of a core, or of a GPU where that computes")
    sub.add_argument("--seed", type=values.seed, default=0, help="of the simulation (default: 0)")
    sub.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    """Plan, and print the table."""
    from sifigan_triton.capacity.simulate import Fleet
    from sifigan_triton.capacity.sizing import Promise, fewest, work_s
    from sifigan_triton.server.front import Limits

    times = _times(args)
    lengths = _lengths(args, times.frame_s)
    mean_s = float(lengths.mean())
    rate = args.rate if args.rate is not None else args.audio_rate / mean_s
    fleet = Fleet(1, Limits(args.max_in_flight), tries=args.tries)
    promise = Promise(args.p99, args.refused)
    sizes = fewest(times, lengths, rate, fleet, promise, args.seed)
    unit = "GPUs" if times.gpu else "cores"
    rows = []
    for size in sizes:
        units = size.replicas * (1 if times.gpu else times.cores)
        hours = units / (rate * mean_s) * 1e6  # of cores or GPUs, for a million hours of audio
        rows.append(
            asdict(size)
            | {unit: units, "memory_mb": size.replicas * args.memory_mb, f"{unit}_hours_per_million_audio_hours": hours}
            | ({} if args.price is None else {"price_per_million_audio_hours": hours * args.price})
        )
    asked = {
        "calls_per_s": rate,
        "audio_s_per_s": rate * mean_s,
        "mean_length_s": mean_s,
        "p99_s": args.p99,
        "refused": args.refused,
        "most_calls_per_s_of_a_replica": 1.0 / work_s(times, lengths),
    }
    if args.json:
        print(json.dumps({"asked": asked, "times": asdict(times), "sizes": rows}, indent=2))
    else:
        print(_table(asked, rows, unit))


def _times(args: argparse.Namespace) -> Any:
    """Return the times of the server, read or measured."""
    from sifigan_triton.capacity.service_times import ServiceTimes

    if args.times is not None:
        return ServiceTimes.load(args.times)
    from sifigan_triton.capacity.probe import Probe
    from sifigan_triton.client.address import Address

    if args.cores is None:
        raise ValueError("--cores is missing: how many cores has the server that is measured?")
    metrics = args.metrics or f"{Address.parse(args.measure).host}:8002"
    probe = Probe(args.measure, metrics, args.model, args.cores)
    for _ in range(args.rounds):
        probe.round()
    times = probe.times()
    if args.save is not None:
        times.save(args.save)
    return times


def _lengths(args: argparse.Namespace, frame_s: float) -> Any:
    """Return the lengths of the calls in seconds."""
    from sifigan_triton.capacity import traffic

    if args.lengths is not None and args.log_normal is not None:
        raise ValueError("--lengths and --log-normal both say how long calls are: give one")
    if args.lengths is not None:
        return traffic.read_lengths(args.lengths)
    if args.log_normal is not None:
        return traffic.log_normal(args.log_normal[0], args.log_normal[1], args.seed)
    return traffic.shipped_lengths(frame_s)


def _table(asked: dict[str, float], rows: Sequence[dict[str, Any]], unit: str) -> str:
    """Return what is printed: what was asked, and a line for each size."""
    lines = [
        f"{asked['calls_per_s']:.3g} calls/s of {asked['mean_length_s']:.3g} s on average, "
        f"{asked['audio_s_per_s']:.3g} s of audio a second",
        f"one replica does at most {asked['most_calls_per_s_of_a_replica']:.3g} calls/s",
        f"asked: p99 at most {asked['p99_s']:g} s, refused at most {asked['refused']:.2%}",
        "",
        f"{'replicas':>8} {unit:>7} {'memory GB':>9} {'p50 s':>7} {'p99 s':>7} {'used':>5} {'refused':>8} "
        f"{unit[:-1] + ' hours':>11} {'price':>11}  (for a million hours of audio)",
    ]
    for row in rows:
        price = row.get("price_per_million_audio_hours")
        lines.append(
            f"{row['replicas']:>8,} {row[unit]:>7,} {row['memory_mb'] / 1e3:>9,.1f} {row['p50_s']:>7.3g} "
            f"{row['p99_s']:>7.3g} {row['utilisation']:>5.0%} {row['refused']:>8.2%} "
            f"{row[f'{unit}_hours_per_million_audio_hours']:>11,.0f} {'' if price is None else f'{price:,.0f}':>11}"
            f"  {'enough' if row['enough'] else 'too few'}"
        )
    return "\n".join(lines)

"""The rows as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence

from sifigan_triton.measure.case import IN_PROCESS
from sifigan_triton.measure.row import Row

COLUMNS = (
    "engine | frames | load | over | infer/s | audio s/s | against bare | RTF | p50 ms | p90 | p95 | p99 | preprocess "
    "| engine | postprocess | outside | batch | waste | CPU s/s | MiB"
)
LEGEND = """\
- load: clients that each wait for their answer, or Poisson arrivals at a share of the rate that one client reaches;
  latencies count from the arrival. `in-process`: the bare engine on the same windows, one request at a time.
- infer/s, audio s/s, and the throughput against the bare engine's in the same round: median over the rounds
  (smallest-largest). RTF: median latency a second of audio.
- preprocess, engine, postprocess: mean ms queued + computing. outside: share of the mean latency in which a request
  neither waited for the engine nor was computed by it. batch: requests in a call of the engine.
- waste: frames computed for one asked for, halos not counted. CPU s/s: the server's CPU seconds a second of audio.
  MiB: memory of its processes, shared pages once."""


def format_table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown, with a legend."""
    count = COLUMNS.count("|") + 1
    lines = [f"| {COLUMNS} |", f"|{' --- |' * 4}{' ---: |' * (count - 4)}"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join([*lines, "", LEGEND])


def _cells(row: Row) -> list[str]:
    case, latency = row.case, row.latency_ms
    cells = [case.kind.name, case.workload.name, case.load, case.protocol]
    cells += [str(row.requests_per_second), str(row.audio_seconds_per_second)]
    cells += ["" if row.against_bare is None else str(row.against_bare), f"{row.real_time_factor:.3f}"]
    cells += [f"{value:.1f}" for value in latency.values()]
    if case.protocol == IN_PROCESS:
        return [*cells, *[""] * 8]
    times = {"preprocess": "", "engine": "", "postprocess": ""}
    for name, step in row.steps.items():
        part = "engine" if name == case.kind.model else name.partition("-")[0]
        times[part] = f"{step.queue_ms:.1f}+{step.compute_ms:.1f}"
    engine = row.steps.get(case.kind.model)
    cells += [*times.values(), _percent(row.outside_engine), "" if engine is None else f"{engine.batch:.2f}"]
    waste = row.computed_per_asked
    cells += ["" if waste is None else f"{waste:.2f}", f"{row.cpu_per_audio_second:.2f}"]
    return [*cells, f"{row.memory_bytes / 2**20:.0f}"]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100.0 * share:.1f} %"

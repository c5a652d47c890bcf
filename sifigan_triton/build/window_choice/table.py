"""The candidates as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence

from sifigan_triton.build.window_choice.choice import Candidate

COLUMNS = (
    "window, frames",
    "lowest F0, Hz",
    "engine, ms for 1 s of audio",
    "lost to padding",
    "lost to halos",
    "longest utterance, s",
    "one window, ms",
    "mean answer, ms",
    "time of a window",
)
LEGEND = """\
- engine: its time over all requests. padding: computed frames that nobody asked for. halos: arithmetic that the same
  frames in an endless window would not need.
- one window: the first audio of a client that takes windows as they come. `sifigan` answers all at once: mean answer.
- time of a window: measured; interpolated between measured windows; or by arithmetic, from those of another floor."""


def format_table(rows: Sequence[Candidate], chosen: Candidate) -> str:
    """Return rows in ascending order of window and floor, the chosen one in bold, with a legend."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' ---: |' * (len(COLUMNS) - 1)} --- |"]
    for row in sorted(rows, key=lambda each: (each.window, each.f0_floor)):
        cells = _cells(row)
        if row == chosen:
            cells = [f"**{cell}**" for cell in cells[:-1]] + [f"{cells[-1]}; **chosen**"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", LEGEND])


def _cells(row: Candidate) -> list[str]:
    return [
        f"{row.window}",
        f"{row.f0_floor:g}",
        f"{row.cost_ms:.1f}",
        f"{row.padding:.1%}",
        f"{row.halo:.1%}",
        f"{row.longest_s:.0f}",
        f"{row.first_ms:.1f}",
        f"{row.answer_ms:.1f}",
        row.source,
    ]

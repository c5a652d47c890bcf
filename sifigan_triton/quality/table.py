"""The table of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sifigan_triton.quality.metric import METRICS, Metric


def format_table(rows: Sequence[tuple[str, Mapping[str, float | None]]], limits: Mapping[str, float | None]) -> str:
    """Return rows of values, by the metric's name, as plain text with a last row of bounds where there are any."""
    cells = [["", *(f"{metric.name} {metric.unit}".strip() for metric in METRICS)]]
    cells += [[name, *(_cell(metric, values[metric.name]) for metric in METRICS)] for name, values in rows]
    if any(limit is not None for limit in limits.values()):
        cells.append(["bound", *(_bound(metric, limits[metric.name]) for metric in METRICS)])
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _cell(metric: Metric, value: float | None) -> str:
    return "-" if value is None else f"{round(value, metric.digits) + 0.0:.{metric.digits}f}"  # + 0.0: no "-0.00"


def _bound(metric: Metric, limit: float | None) -> str:
    return "" if limit is None else f"{'>=' if metric.at_least else '<='} {limit:g}"

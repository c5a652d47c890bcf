"""What the benchmark writes: table, picture, and text between the marks of a document."""

from __future__ import annotations

from pathlib import Path

import pytest

from sifigan_triton.measure.report import COLUMNS, Section, draw_chart, format_table
from sifigan_triton.measure.row import Case, Row
from tests.measure.test_row import WORKLOAD, one_slice, rows


def test_table_has_a_cell_for_every_column() -> None:
    lines = format_table(rows()).splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[:4]]
    assert table[0] == list(COLUMNS)
    assert {len(cells) for cells in table} == {len(COLUMNS)}
    cells = table[3]
    assert cells[:7] == ["openvino-fp32", "200", "1", "grpc", "2.5 (2-5)", "2.5 (2-5)", "0.8 (0.5-1)"]
    assert cells[12:] == ["0.0+18.3", "55.0+220.0", "0.0+18.3", "25.0 %", "2.00", "1.28", "0.50", "3"]


def test_table_lines_up_and_leaves_empty_columns_out() -> None:
    served = Row(Case("sifigan", WORKLOAD, "http"), [one_slice(0.2)], None, 0.005, 128)
    lines = format_table([served]).splitlines()
    assert "against bare" not in lines[0]
    assert len({len(line) for line in lines[:3]}) == 1
    assert lines[2].startswith("| sifigan | 200    | 1    | http |")  # names stand on the left
    assert lines[2].index("5 (5-5)") > lines[0].index("infer/s") - 1
    assert lines[1].count("-:") == lines[0].count("|") - 1 - 4


def test_chart_is_small(tmp_path: Path) -> None:
    draw_chart(tmp_path / "x.png", [*rows()] * 8)
    assert 1_000 < (tmp_path / "x.png").stat().st_size < 100_000


def test_text_goes_between_the_marks(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text("before\n<a>\nold\n<b>\nafter\n")
    section = Section(tmp_path / "x.md", "<a>", "<b>")
    for text in ("first", "second"):
        section.write(text)
    assert (tmp_path / "x.md").read_text() == "before\n<a>\n\nsecond\n\n<b>\nafter\n"


@pytest.mark.parametrize("text", ["nothing", "<b> <a>", "<a> <a> <b>"])
def test_document_without_marks_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.md").write_text(text)
    with pytest.raises(ValueError, match=r"x\.md lacks the marks <a> and <b>"):
        Section(tmp_path / "x.md", "<a>", "<b>").write("text")
    assert (tmp_path / "x.md").read_text() == text

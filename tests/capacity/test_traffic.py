"""The calls that a fleet gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sifigan_triton.capacity.traffic import Traffic, log_normal, read_lengths, shipped_lengths


def test_a_log_normal_has_its_percentiles() -> None:
    lengths = log_normal(2.5, 7.0, 0)
    assert np.percentile(lengths, [50, 95]) == pytest.approx([2.5, 7.0], rel=0.03)
    with pytest.raises(ValueError, match="the median length is 3 s and the 95th percentile 2 s"):
        log_normal(3.0, 2.0, 0)


def test_a_file_of_lengths(tmp_path: Path) -> None:
    path = tmp_path / "lengths"
    path.write_text("1.5\n\n2\n")
    assert list(read_lengths(path)) == [1.5, 2.0]


@pytest.mark.parametrize("line", ["x", "-1", "nan", "inf", "1e9"])
def test_a_line_that_is_no_length_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "lengths"
    path.write_text(f"1.5\n{line}\n")
    with pytest.raises(ValueError, match=r"lengths, line 2: .*expected the length of an utterance in seconds"):
        read_lengths(path)
    path.write_text("")
    with pytest.raises(ValueError, match="is empty"):
        read_lengths(path)


def test_arrivals_are_random_at_the_rate() -> None:
    traffic = Traffic.poisson(10.0, np.array([0.001, 3.0]), 0.005, 20_000, 5)
    gaps = np.diff(traffic.arrivals)
    assert gaps.mean() == pytest.approx(0.1, rel=0.03)
    assert gaps.std() == pytest.approx(0.1, rel=0.05)
    assert set(traffic.frames) == {1, 600}
    assert traffic.first(10.0).arrivals.max() <= 10.0


def test_the_shipped_lengths_are_those_of_the_measurement_data() -> None:
    assert sorted(shipped_lengths(0.005)) == pytest.approx([0.185, 0.5, 1.0, 2.055, 3.135, 5.0, 12.2])

"""What models count reaches the page, whole, from one thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.metrics_page import soon
from tests.repository.triton_backend import ARGS, Family, adapter


@pytest.fixture
def metrics() -> Iterator[ModuleType]:
    with adapter("metrics") as module:
        yield module


@pytest.fixture
def page(metrics: ModuleType) -> Iterator[Any]:
    page = metrics.Page(ARGS)
    yield page
    page.close()


def test_counts_of_many_threads_are_exact(metrics: ModuleType, page: Any) -> None:
    windows = metrics.WindowMetrics(page, range(8))
    counts = [value for (name, *_), value in Family.values.items() if name.endswith("_total")]
    assert counts == [0.0] * (8 + 2)  # every size stands there from the start
    with ThreadPoolExecutor(8) as pool:
        for thread in range(8):
            pool.submit(lambda frames: [windows.count(frames, False) for _ in range(500)], thread)
    page.close()
    counted = {key: value for key, value in Family.values.items() if key[0] == "sifigan_engine_windows_total"}
    assert counted == {("sifigan_engine_windows_total", f"frames={frames}"): 500 for frames in range(8)}
    assert Family.values[("sifigan_engine_late_windows_total",)] == 0


def test_a_count_is_there_soon_without_another(metrics: ModuleType, page: Any) -> None:
    metric = metrics.Metric(page, "sifigan_windows_total", "windows")
    metric.add(3)
    assert soon(lambda: Family.values[("sifigan_windows_total",)], 3) == 3


def test_requests_in_flight_rise_and_fall(metrics: ModuleType, page: Any) -> None:
    counted, place = metrics.RequestMetrics(page), ("sifigan_requests_in_flight",)
    calls = [counted.begin(SimpleNamespace(request_id=lambda: "")) for _ in range(3)]
    assert soon(lambda: Family.values[place], 3) == 3
    for call in calls:
        counted.end(call)
    assert soon(lambda: Family.values[place], 0) == 0
    assert soon(lambda: Family.values[("sifigan_requests_total",)], 3) == 3


def test_no_count_is_lost_while_nothing_can_be_written(
    metrics: ModuleType, page: Any, caplog: pytest.LogCaptureFixture
) -> None:
    counter = metrics.Metric(page, "sifigan_windows_total", "windows")
    Family.broken = True
    counter.add(2)
    soon(lambda: len(caplog.records), 1)
    assert "could not be written" in caplog.text
    assert Family.values[("sifigan_windows_total",)] == 0
    Family.broken = False
    metrics.Metric(page, "sifigan_frames_total", "frames").add(1)
    assert soon(lambda: Family.values[("sifigan_windows_total",)], 2) == 2


def test_memory_is_what_the_process_holds_now(
    metrics: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On the page from the start, without a count; and again and again, as it grows and shrinks."""
    place, rollup = ("sifigan_model_memory_bytes",), tmp_path / "smaps_rollup"
    monkeypatch.setattr(metrics, "MEMORY", rollup)
    monkeypatch.setattr(metrics, "_MEMORY_EVERY_S", 0.02)
    rollup.write_text(
        "00400000-ff601000 ---p 00000000 00:00 0  [rollup]\nRss:   900 kB\nPss:   700 kB\nPss_Dirty: 1 kB\n"
    )
    page = metrics.Page(ARGS)
    assert soon(lambda: Family.values[place], 700 * 1024) == 700 * 1024
    rollup.write_text("Pss:   300 kB\n")
    assert soon(lambda: Family.values[place], 300 * 1024) == 300 * 1024
    rollup.unlink()  # nothing is known then, and counting goes on
    metrics.Metric(page, "sifigan_frames_total", "frames").add(1)
    assert soon(lambda: Family.values[("sifigan_frames_total",)], 1) == 1
    page.close()

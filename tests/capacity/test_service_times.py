"""What the planner knows about a server, and the file that holds it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from sifigan_triton.capacity.service_times import ServiceTimes
from tests.capacity.small import CPU


def test_the_file_holds_all(tmp_path: Path) -> None:
    CPU.save(tmp_path / "times.json")
    assert ServiceTimes.load(tmp_path / "times.json") == CPU


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"window_s": {"64": 0.1, "512": 0.2}}, "largest first"),
        ({"window_s": {}}, "largest first"),
        ({"window_s": {"512": 0.0}}, "seconds above 0"),
        ({"around_s": -1.0}, "around_s is -1.0, expected seconds from 0"),
        ({"around_s": float("nan")}, "around_s is nan"),
        ({"cores": 0}, "cores is 0, expected at least 1"),
        ({"frame_s": 5.0}, "frame_s is 5.0, expected the seconds of a frame"),
        ({"more": 1}, "more"),
        ({"window_s": 1}, "expected times, as `sifigan-triton plan --measure"),
    ],
    ids=str,
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = tmp_path / "times.json"
    path.write_text(json.dumps(asdict(CPU) | changed))
    with pytest.raises(ValueError, match=message) as refused:
        ServiceTimes.load(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("frames", "windows"),
    [
        (1, (64,)),
        (64, (64,)),
        (512, (512,)),
        (1024 + 176, (512, 512, 128, 64)),
        (1024 + 200, (512, 512, 256)),
        (1024 + 300, (512, 512, 256, 64)),
    ],
)
def test_windows_are_those_of_the_engine(frames: int, windows: tuple[int, ...]) -> None:
    assert CPU.windows(frames) == windows
    assert CPU.alone(frames) == pytest.approx(
        CPU.around_s + frames * CPU.around_frame_s + sum(CPU.window_s[size] for size in windows)
    )


def test_windows_that_go_together_share_a_call() -> None:
    gpu = replace(CPU, window_s={512: 0.001}, gpu=True, turns=False, batch=16, call_s=0.004)
    assert gpu.alone(512 * 17) - gpu.around(512 * 17) == pytest.approx(2 * 0.004 + 17 * 0.001)

"""The requests of a benchmark: cut from a recording, or a file as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sifigan_triton.features.requests import Request
from sifigan_triton.measure.workload import Workload


def test_workload_repeats_the_recording_and_keeps_to_the_floor(tmp_path: Path) -> None:
    source = Request(
        np.array([0.0, 80.0, 200.0], np.float32),
        np.arange(120, dtype=np.float32).reshape(3, 40),
        np.zeros((3, 3), np.float32),
    )
    workload = Workload.cut(tmp_path, source, (2, 5), f0_floor=100.0)
    assert [r.f0.tolist() for r in workload.requests] == [[0.0, 100.0], [0.0, 100.0, 200.0, 0.0, 100.0]]
    assert np.array_equal(workload.requests[1].mcep, source.mcep[[0, 1, 2, 0, 1]])
    assert source.f0[1] == 80.0
    assert (workload.name, workload.frames, workload.mean_frames) == ("mixed", (2, 5), 3.5)
    assert Workload.cut(tmp_path, source, (2,), 100.0).name == "2"
    assert set(json.loads(workload.path.read_text())["data"][0]) == {"f0", "mcep", "bap"}


def test_workload_of_no_frames_is_refused(tmp_path: Path) -> None:
    source = Request(np.zeros(3, np.float32), np.zeros((3, 40), np.float32), np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match=r"lengths are \[5, 0\], expected .* at least 1 frame"):
        Workload.cut(tmp_path, source, (5, 0), 100.0)


def test_file_is_taken_as_it_is(tmp_path: Path) -> None:
    entries = [{"f0": [100.0, 200.0]}, {"f0": {"content": {"b64": ""}, "shape": [5]}, "seed": [7]}]
    (tmp_path / "x.json").write_text(json.dumps({"data": entries}))
    assert Workload.read(tmp_path / "x.json") == Workload("x", tmp_path / "x.json", (2, 5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "is no measurement file", id="no-json"),
        pytest.param("[]", "is no measurement file", id="no-object"),
        pytest.param('{"data": []}', "no entries under 'data'", id="empty"),
        pytest.param('{"data": [{"f0": [1.0]}, {"mcep": []}]}', "entry 1: no f0", id="no-f0"),
        pytest.param('{"data": [{"f0": {"shape": [1, 5]}}]}', r"entry 0: f0 has the shape \[1, 5\]", id="rank"),
    ],
)
def test_unusable_measurement_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"x\.json.*{message}"):
        Workload.read(path)


def test_missing_measurement_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json is missing"):
        Workload.read(tmp_path / "nowhere.json")

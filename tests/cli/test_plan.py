"""The command `plan`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sifigan_triton.capacity import sizing
from sifigan_triton.cli.main import main
from tests.capacity.small import CPU

ASKED = ["--rate", "30", "--log-normal", "2.5", "7", "--p99", "1.5"]


@pytest.fixture(autouse=True)
def fewer_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "CALLS", 2000)


@pytest.fixture
def times(tmp_path: Path) -> str:
    CPU.save(tmp_path / "times.json")
    return str(tmp_path / "times.json")


def test_the_table_and_json_say_the_same(times: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "--times", times, *ASKED, "--price", "0.04", "--memory-mb", "2000"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    fewer, enough, _ = told["sizes"]
    assert (fewer["enough"], enough["enough"]) == (False, True)
    assert enough["memory_mb"] == 2000 * enough["replicas"]
    hours = enough["cores_hours_per_million_audio_hours"]
    assert hours == pytest.approx(1e6 * enough["replicas"] / told["asked"]["audio_s_per_s"])
    assert enough["price_per_million_audio_hours"] == pytest.approx(0.04 * hours)
    assert main(command) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.endswith("enough")]
    assert rows[0][:2] == [str(enough["replicas"])] * 2
    assert rows[0][-2] == f"{0.04 * hours:,.0f}"


def test_gpus_are_counted_where_they_compute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = replace(CPU, window_s={512: 0.002}, cores=8, gpu=True, batch=16, turns=False, call_s=0.003)
    gpu.save(tmp_path / "gpu.json")
    assert main(["plan", "--times", str(tmp_path / "gpu.json"), *ASKED, "--json"]) == 0
    enough = next(size for size in json.loads(capsys.readouterr().out)["sizes"] if size["enough"])
    assert enough["GPUs"] == enough["replicas"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--measure", "localhost:8000", *ASKED], "--cores is missing"),
        (["--times", "TIMES", *ASKED, "--lengths", "x"], "--lengths and --log-normal both say"),
        (["--times", "TIMES", "--rate", "1", "--p99", "0.01"], "even on an idle server"),
    ],
    ids=["cores", "lengths", "p99"],
)
def test_what_cannot_be_planned_is_told(
    times: str, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["plan", *(times if option == "TIMES" else option for option in options)]) == 1
    assert message in capsys.readouterr().err

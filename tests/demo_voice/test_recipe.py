"""The recipe of the demonstration voice as one command, on toy sizes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sifigan_triton.voice.folder import load_voice
from tools.train_demo_voice import __main__ as recipe
from tools.train_demo_voice.journal import CHECKPOINT_FILE
from tools.train_demo_voice.toy import make_toy_corpus
from tools.train_demo_voice.trainer import Trainer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_one_command_goes_on_where_it_was_and_makes_a_voice(trainer: Trainer, tmp_path: Path) -> None:
    make_toy_corpus(tmp_path / "corpus")
    corpus = {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").iterdir()}
    (tmp_path / "run").mkdir()
    trainer.train_step()
    trainer.save(tmp_path / "run" / CHECKPOINT_FILE)
    command = [sys.executable, "-m", "tools.train_demo_voice", "--toy", "--output", str(tmp_path), "--", "--steps", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    stages = [line for line in done.stdout.splitlines() if line.startswith("==")]
    assert stages == ["== corpus", "== training", "== export", "== evaluation"]
    assert "from step 1 to 3" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").iterdir()} == corpus
    card = (tmp_path / "demo" / "README.md").read_text()
    assert "3 steps" in card
    assert "| 1 held-out utterances, mean: voice |" in card
    assert (tmp_path / "demo" / "spectrograms.png").exists()
    assert load_voice(tmp_path / "demo")[0].name == "demo"


def test_figures_are_made_again_only_after_more_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, figures = tmp_path / "checkpoint.pt", tmp_path / "figures.md"
    calls: list[list[str]] = []

    def measure(arguments: list[str]) -> None:
        calls.append(arguments)
        figures.write_text("MCD 1.23 dB.")

    monkeypatch.setattr(recipe.evaluate, "main", measure)
    checkpoint.touch()
    os.utime(checkpoint, (1000, 1000))
    for _ in range(2):
        recipe.make_figures(tmp_path / "demo", tmp_path, tmp_path, tmp_path, tmp_path)
    assert len(calls) == 1
    os.utime(figures, (500, 500))
    recipe.make_figures(tmp_path / "demo", tmp_path, tmp_path, tmp_path, tmp_path)
    assert len(calls) == 2


def test_a_training_that_was_stopped_ends_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipe.train, "main", lambda arguments: False)
    assert recipe.main(["--toy", "--output", str(tmp_path)]) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()

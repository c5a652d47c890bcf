"""The command `bulk`, and several inputs of `synthesize`; tests/bulk has the work on a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sifigan_triton.cli import bulk
from sifigan_triton.cli.main import main
from sifigan_triton.features.features import Features
from tests.conftest import Deployment


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        arrays = [np.full(shape, 200.0 if len(shape) == 1 else -1.0, np.float32) for shape in ((9,), (9, 40), (9, 3))]
        Features(*arrays, 24000, 5.0).save(tmp_path / "in" / f"{name}.npz")
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("index", "options", "message"),
    [
        ("x", ["--workers", "2"], "JOB_COMPLETION_INDEX is 'x', expected the number of this worker"),
        ("1", [], "JOB_COMPLETION_INDEX is 1, but --workers is 1: say how many workers there are"),
        ("2", ["--workers", "2"], "worker 2 of 2, expected one from 0 to 1"),
    ],
)
def test_a_worker_that_does_not_know_its_number_stops(
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    index: str,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.setenv(bulk.INDEX, index)
    assert main(["bulk", str(corpus), str(corpus.with_name("out")), *options]) == 1
    assert message in capsys.readouterr().err
    assert not corpus.with_name("out").exists()


def test_several_inputs_need_a_folder_and_names_of_their_own(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = [str(corpus / "a.npz"), str(corpus / "b.npz")]
    assert main(["synthesize", *inputs, "-o", str(corpus / "a.npz")]) == 1
    assert "is a file: with several inputs -o names the folder of the audio" in capsys.readouterr().err
    assert main(["synthesize", *inputs, inputs[0], "-o", str(corpus / "out")]) == 1
    assert "would both become" in capsys.readouterr().err
    assert main(["synthesize", *inputs, "-o", str(corpus / "out"), "--plot", "x.png"]) == 1
    assert "--plot draws one file" in capsys.readouterr().err
    (corpus / "b.wav").write_bytes((corpus / "b.npz").read_bytes())
    assert main(["resynthesize", str(corpus / "b.wav"), inputs[0], "-o", str(corpus)]) == 1
    assert "b.wav would be replaced by what is made of it" in capsys.readouterr().err


@pytest.mark.server
def test_several_inputs_are_made_as_each_alone(
    corpus: Path, capsys: pytest.CaptureFixture[str], small_deployment: Deployment
) -> None:
    inputs, out = [str(corpus / "a.npz"), str(corpus / "b.npz")], corpus / "out"
    asked = ["--url", small_deployment.server.http_url, "--f0-factor", "1.5", "--seed", "3"]
    (corpus / "bad.npz").write_bytes(b"no features")
    assert main(["synthesize", *inputs, str(corpus / "bad.npz"), "-o", str(out), *asked]) == 1
    said = capsys.readouterr()
    assert f"{out}: 2 of 3 files, 0.09 s" in said.out
    assert "bad.npz: not readable" in said.err
    assert main(["synthesize", inputs[0], "-o", str(corpus / "alone.wav"), *asked]) == 0
    assert (out / "a.wav").read_bytes() == (corpus / "alone.wav").read_bytes()

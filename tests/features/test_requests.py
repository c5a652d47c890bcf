"""Requests as they are read; and the committed ones are what the committed script makes of the recordings."""

from __future__ import annotations

import base64
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from sifigan_triton.features.features import Features
from sifigan_triton.features.requests import Request, measurement_file, read_requests

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "measurement_data"
FRAMES = {"short": [100], "frames-627": [627], "long": [2440], "several": [200, 37, 411, 1000]}
WIDTHS: dict[str, tuple[int, ...]] = {"f0": (), "mcep": (40,), "bap": (3,)}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Import `benchmarks/make_measurement_data.py`."""
    path = ROOT / "benchmarks" / "make_measurement_data.py"
    spec = importlib.util.spec_from_file_location("make_measurement_data", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def vocadito_10(script: ModuleType) -> Features:
    """Analyse the first recording."""
    features: Features = script.analyze_recording("vocadito_10")
    return features


def requests(name: str) -> list[dict[str, Any]]:
    """Read one committed file."""
    data: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))["data"]
    return data


def decode(tensor: dict[str, Any]) -> NDArray[np.float32]:
    """Read one tensor as perf_analyzer does: little-endian bytes that must fill the shape."""
    content = base64.b64decode(tensor["content"]["b64"], validate=True)
    return np.frombuffer(content, "<f4").reshape(tensor["shape"])


@pytest.mark.parametrize("name", FRAMES)
def test_committed_requests(name: str) -> None:
    data = requests(name)
    assert len(data) == len(FRAMES[name])
    for frames, request in zip(FRAMES[name], data, strict=True):
        assert list(request) == ["f0", "mcep", "bap"]
        for tensor, width in WIDTHS.items():
            values = decode(request[tensor])
            assert values.shape == (frames, *width), tensor
            assert np.isfinite(values).all(), tensor
        voiced = decode(request["f0"])
        assert voiced.min() >= 0.0
        assert np.mean(voiced > 0.0) > 0.5
        assert voiced[voiced > 0.0].min() >= 71.0


def test_frames_627_is_what_the_script_makes(script: ModuleType, vocadito_10: Features) -> None:
    (excerpt,) = script.FILES["frames-627"]
    assert excerpt.recording == "vocadito_10"
    made = script.entry(vocadito_10, excerpt)
    (committed,) = requests("frames-627")
    for tensor, tolerance in (("f0", 0.01), ("mcep", 1e-3), ("bap", 1e-2)):  # Hz, nepers, dB
        np.testing.assert_allclose(decode(made[tensor]), decode(committed[tensor]), rtol=0.0, atol=tolerance)


def test_script_has_the_files_that_are_committed(script: ModuleType) -> None:
    assert set(script.FILES) == set(FRAMES) == {path.stem for path in FOLDER.glob("*.json")}


def test_script_refuses_nan(script: ModuleType, vocadito_10: Features) -> None:
    bap = vocadito_10.bap.copy()
    bap[100, 1] = np.nan
    features = replace(vocadito_10, bap=bap)
    with pytest.raises(ValueError, match="bap of vocadito_10 is not finite at frame 100"):
        script.entry(features, script.Excerpt("vocadito_10", 80, 707))


@pytest.mark.parametrize(("name", "seconds"), [("vocadito_10", 9.098), ("vocadito_14", 12.198)])
def test_recordings(name: str, seconds: float) -> None:
    info = soundfile.info(FOLDER / f"{name}.flac")
    assert (info.samplerate, info.channels, info.subtype) == (24000, 1, "PCM_16")
    assert info.duration == pytest.approx(seconds, abs=0.001)


def test_attribution_stands_beside_the_recordings() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for needed in ("Bittner", "zenodo.org/record/5578807", "creativecommons.org/licenses/by/4.0", "Changes made"):
        assert needed in text


def test_measurement_files_are_found_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [len(read_requests(measurement_file(f"{name}.json"))) for name in ("short", "several")] == [1, 4]


def test_measurement_files_of_an_installed_package_lie_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a wheel: no folder beside the package."""
    package = tmp_path / "site-packages" / "sifigan_triton"
    monkeypatch.setattr("sifigan_triton.files.__file__", str(package / "files.py"))
    assert measurement_file("short.json") == package / "measurement_data" / "short.json"


def test_f0_is_raised_to_a_floor_where_there_is_one() -> None:
    f0 = np.array([0.0, 62.3, 70.0, 200.0], np.float32)
    request = Request(f0, np.zeros((4, 40), np.float32), np.zeros((4, 3), np.float32))
    raised = request.raised_to(70.0).f0
    assert (raised.tolist(), raised.dtype) == ([0.0, 70.0, 70.0, 200.0], np.float32)
    assert request.f0[1] == np.float32(62.3)

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
from sifigan_triton.features.requests import Request, encode_tensor, measurement_file, read_requests

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


def tensors(**changes: Any) -> str:
    """Return the text of a file with one request of 2 frames, some of whose tensors are others."""
    widths = {"f0": [2], "mcep": [2, 40], "bap": [2, 3]}
    entry = {name: encode_tensor(np.zeros(shape, np.float32)) for name, shape in widths.items()}
    return json.dumps({"data": [entry | changes]})


def tensor(shape: Any, values: int = 2) -> dict[str, Any]:
    return encode_tensor(np.zeros(values, np.float32)) | {"shape": shape}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(tensors(f0=tensor([-1])), r"data\[0\]\.f0 has 2 values, expected a shape", id="negative"),
        pytest.param(tensors(mcep=tensor([2**40, 0])), r"data\[0\]\.mcep has 2 values", id="zero"),
        pytest.param(tensors(mcep=tensor([1, 2])), r"data\[0\]: f0, mcep and bap have different numbers", id="frames"),
        pytest.param(tensors(bap=tensor([1] * 1000)), r"data\[0\]\.bap\.shape is no list of 2", id="rank"),
        pytest.param(tensors(f0=tensor([float("inf")])), "infinity", id="infinite"),
        pytest.param(tensors(f0=tensor(["9" * 5000])), "digits", id="digits"),
        pytest.param("[" * 10**5, "RecursionError", id="nested"),
        pytest.param('{"data": {}}', "'data' is no list of at most 10,000 requests", id="object"),
        pytest.param(f'{{"data": [{"0," * 10000}0]}}', "'data' is no list of at most 10,000 requests", id="count"),
        pytest.param('{"data": [0]}', "TypeError", id="number"),
    ],
)
def test_hostile_requests_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=rf"x\.json holds no requests of the form .*{message}") as refusal:
        read_requests(tmp_path / "x.json")
    assert len(str(refusal.value)) < 500


def test_file_of_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is made smaller for the sake of the test's time."""
    monkeypatch.setattr("sifigan_triton.features.requests.MAX_BYTES", 100)
    (tmp_path / "x.json").write_text(tensors())
    with pytest.raises(ValueError, match=r"x\.json .*has more than 100 bytes"):
        read_requests(tmp_path / "x.json")

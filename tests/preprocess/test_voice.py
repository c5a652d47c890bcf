"""The constants of a voice: `voice.json` there and back, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from preprocess import Settings, Voice
from preprocess.voice import AnalysisSettings, GeneratorConfig, Statistics, VoiceError
from tests.small_voice import small_voice

VOICE = small_voice()[0]


def json_with(*path: str, value: Any) -> str:
    """Return the text of a voice.json with one value replaced."""
    values = json.loads(VOICE.to_json())
    where = values
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    return json.dumps(values)


@pytest.mark.parametrize("mode", ["reflect", "zero"])
def test_json_there_and_back(mode: Any) -> None:
    voice = small_voice(mode, filter_dilations=((1, 3), (1,), (1, 3, 5)))[0]
    assert Voice.from_json(voice.to_json()) == voice


def test_absent_constants_have_the_published_values() -> None:
    statistics = {"mcep": {"mean": [0.0] * 40, "scale": [1.0] * 40}, "bap": {"mean": [0.0] * 3, "scale": [1.0] * 3}}
    voice = Voice.from_json(json.dumps({"name": "x", **statistics}))
    assert (voice.sample_rate, voice.hop_size, voice.frame_period_ms) == (24000, 120, 5.0)
    assert voice.dense_factors == (0.5, 1.0, 4.0, 8.0)
    assert (voice.pd_indexing, voice.sine_amp, voice.noise_amp) == ("reflect", 0.1, 0.003)
    assert voice.generator == GeneratorConfig()
    assert voice.analysis == AnalysisSettings()
    assert (voice.analysis.mcep_order, voice.analysis.all_pass_alpha, voice.analysis.highpass_hz) == (39, 0.466, 70.0)


def test_derived_values() -> None:
    config = GeneratorConfig()
    assert config.rates == (5, 20, 60, 120)
    assert config.pitch_dependent_convs == (
        *((0, 1),),
        *((1, 1), (1, 2)),
        *((2, 1), (2, 2), (2, 4)),
        *((3, 1), (3, 2), (3, 4), (3, 8)),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "not valid JSON", id="no-json"),
        pytest.param("[]", "voice is list, expected an object", id="list"),
        pytest.param("5", "voice is int, expected an object", id="number"),
        pytest.param('"mcep"', "voice is str, expected an object", id="string"),
        pytest.param("null", "voice is NoneType, expected an object", id="null"),
        pytest.param("{}", "voice: Voice.__init__() missing 3 required", id="empty"),
        pytest.param(json_with("pitch", value=1), "voice has unknown keys ['pitch'], expected some of", id="unknown"),
        pytest.param(
            json_with("generator", "width", value=1), "generator has unknown keys ['width']", id="unknown-nested"
        ),
        pytest.param(json_with("mcep", value=[1.0]), "mcep is list, expected an object", id="statistics-list"),
        pytest.param(
            json_with("pd_indexing", value="wrap"), "pd_indexing is 'wrap', expected 'reflect' or 'zero'", id="indexing"
        ),
        pytest.param(
            json_with("dense_factors", value=[1.0, 2.0]),
            "dense_factors has 2 values, expected one for each of the 4 upsample_scales",
            id="dense-factors",
        ),
        pytest.param(
            json_with("bap", value={"mean": [0.0] * 5, "scale": [1.0] * 5}),
            "statistics of mcep (40) and bap (5) make 45 features, the generator expects 43",
            id="features",
        ),
        pytest.param(
            json_with("bap", "mean", value=[0.0] * 2), "statistics have 2 means and 3 scales", id="statistics-length"
        ),
        pytest.param(
            json_with("bap", "scale", value=[1.0, 0.0, 1.0]), "statistics hold a scale that is not positive", id="scale"
        ),
        pytest.param(
            json_with("bap", "scale", value=[1.0, float("nan"), 1.0]), "a scale that is not positive", id="scale-nan"
        ),
        pytest.param(
            json_with("generator", "source_dilations", value=[[1]]),
            "source_dilations has 1 entries, expected one for each of the 4",
            id="source-dilations",
        ),
        pytest.param(
            json_with("generator", "filter_dilations", value=[[1]]),
            "filter_dilations has 1 entries, expected one for each of the 3 filter_kernel_sizes",
            id="filter-dilations",
        ),
        pytest.param(
            json_with("generator", "channels", value=24), "channels is 24, expected a multiple of 16", id="channels"
        ),
        pytest.param(
            json_with("generator", "kernel_size", value=6), "kernel size is 6, expected an odd number", id="kernel"
        ),
        pytest.param(
            json_with("generator", "filter_kernel_sizes", value=[3, 4, 7]), "kernel size is 4", id="filter-kernel"
        ),
    ],
)
def test_bad_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(VoiceError, match=re.escape(message)):
        Voice.from_json(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "No such file", id="absent"),
        pytest.param(b"{", "not valid JSON", id="no-json"),
        pytest.param(b"\xff\xfe", "can't decode byte 0xff", id="no-text"),
    ],
)
def test_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "voice.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VoiceError, match=rf"{re.escape(str(path))}: .*{message}"):
        Voice.load(path)


def test_a_voice_is_frozen() -> None:
    with pytest.raises(AttributeError):
        VOICE.sample_rate = 48000  # type: ignore[misc]
    assert isinstance(hash(Statistics((0.0,), (1.0,))), int)


def test_settings() -> None:
    settings = Settings(VOICE, window=512, halo=216, f0_floor=70.0, max_batch_size=128)
    assert settings.input_frames == 944
    assert settings.longest_frames == 65536
    assert settings.seconds(settings.longest_frames) == pytest.approx(327.68)

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


INFINITE, NAN = float("inf"), float("nan")
BEYOND: list[tuple[tuple[str, ...], Any, str]] = [
    (("dense_factors",), [0.5, 0, 4.0, 8.0], "dense_factors[1] is 0, expected a number from 0.1 to 64"),
    (("dense_factors",), [1e-9, 1.0, 4.0, 8.0], "dense_factors[0] is 1e-09, expected"),
    (("dense_factors",), [0.5, 1.0, 4.0, NAN], "dense_factors[3] is nan, expected"),
    (("dense_factors",), [0.5, 1.0, "4", 8.0], "dense_factors[2] is '4', expected"),
    (("dense_factors",), 3, "dense_factors is 3, expected a list"),
    (("sample_rate",), 10**12, "sample_rate is 1000000000000, expected a whole number from 8,000 to 192,000"),
    (("sample_rate",), 24000.0, "sample_rate is 24000.0, expected a whole number"),
    (("sine_amp",), INFINITE, "sine_amp is inf, expected a number from 0 to 1"),
    (("noise_amp",), True, "noise_amp is True, expected"),
    (("name",), ["x"] * 10**4, "name is ('x', 'x', 'x', 'x', 'x', 'x', ...), expected a text"),
    (("provenance",), {"weights": "x" * 1001}, "provenance 'weights' is 'xx"),
    (("provenance",), 5, "provenance is 5, expected an object"),
    (("pd_indexing",), [1] * 10**4, "pd_indexing is (1, 1, 1, 1, 1, 1, ...), expected 'reflect'"),
    (("generator", "channels"), 2**40, "generator: channels is 1099511627776, expected a whole number from 1 to 2,048"),
    (("generator", "channels"), 16**300, "generator: channels is a number of 1,201 bits, expected"),
    (("generator", "channels"), -16, "generator: channels is -16, expected"),
    (("generator", "channels"), "16", "generator: channels is '16', expected"),
    (("generator", "kernel_size"), 2**31 - 1, "generator: kernel_size is 2147483647, expected"),
    (("generator", "upsample_scales"), [0, 4, 3, 2], "generator: upsample_scales is 0, expected"),
    (("generator", "upsample_scales"), [64] * 4, "generator: upsample_scales: the hop is 16777216, expected"),
    (
        ("generator", "upsample_scales"),
        [1] * 10**4,
        "generator: upsample_scales has 10,000 entries, expected at most 16",
    ),
    (("generator", "source_dilations"), [[1] * 10**4] * 4, "generator: source_dilations has 10,000 entries"),
    (("generator", "filter_dilations"), [[10**9]] * 3, "generator: filter_dilations is 1000000000, expected"),
    (("generator", "filter_dilations"), [1] * 3, "generator: filter_dilations is 1, expected a list"),
    (("generator", "filter_kernel_sizes"), [[3]] * 3, "generator: filter_kernel_sizes is (3,), expected a whole"),
    (("generator", "bias"), "no", "generator: bias is 'no', expected true or false"),
    (("generator", "negative_slope"), NAN, "generator: negative_slope is nan, expected"),
    (("mcep", "mean"), [NAN] * 40, "mcep: mean[0] is nan, expected"),
    (("mcep", "mean"), [0.0] * 39 + [1e300], "mcep: mean[39] is 1e+300, expected"),
    (("mcep", "scale"), [1.0] * 39 + [1e-300], "mcep: scale[39] is 1e-300, expected a number from 1e-06 to"),
    (("mcep", "scale"), [-1.0] * 40, "mcep: statistics hold a scale that is not positive: scale[0] is -1.0"),
    (("bap", "scale"), ["1"] * 3, "bap: scale[0] is '1', expected"),
    (("bap", "mean"), [0.0] * 10**4, "bap: mean has 10,000 values, expected a list of 1 to 1,024 numbers"),
    (("bap", "mean"), [], "bap: mean has 0 values"),
    (("analysis", "f0_floor"), 1e-9, "analysis: f0_floor is 1e-09, expected a number from 10 to"),
    (("analysis", "f0_ceiling"), 60.0, "analysis: f0_ceiling is 60.0, expected a number from 71 to"),
    (("analysis", "mcep_order"), 2**40, "analysis: mcep_order is 1099511627776, expected"),
    (("analysis", "all_pass_alpha"), 1.0, "analysis: all_pass_alpha is 1.0, expected"),
    (("analysis", "highpass_hz"), 1e9, "analysis: highpass_hz is 1000000000.0, expected"),
]


@pytest.mark.parametrize(("path", "value", "message"), BEYOND, ids=[case[2].split(",")[0][:40] for case in BEYOND])
def test_constant_beyond_its_limit_is_refused(path: tuple[str, ...], value: Any, message: str) -> None:
    with pytest.raises(VoiceError, match=re.escape(message)) as refusal:
        Voice.from_json(json_with(*path, value=value))
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b'{"name": "' + b"x" * 2**18 + b'"}', "has more than 262,144 bytes", id="large"),
        pytest.param(b"[" * 10**5, "not the JSON of a voice: .* nested too deeply", id="lists"),
        pytest.param(b'{"a":' * 10**4, "nested too deeply", id="objects"),
        pytest.param(b'{"name":' + b"[" * 900 + b"]" * 900 + b"}", "(nested too deeply|expected)", id="tuples"),
        pytest.param(b'{"sample_rate": ' + b"1" * 5000 + b"}", "not valid JSON: .*digits", id="digits"),
    ],
)
def test_hostile_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "voice.json").write_bytes(content)
    with pytest.raises(VoiceError, match=rf"voice\.json: .*{message}"):
        Voice.load(tmp_path / "voice.json")


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

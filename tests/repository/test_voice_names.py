"""Names of voices: no two models of one repository have the same, and each tells its voice."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.model_plan import ModelPlan, plan_models
from sifigan_triton.repository.voice_names import LONGEST, check_voice_name, main_ensembles, of_voice, voice_of
from tests.small_voice import small_settings, small_voice

VOICES = ("", "a", "b", "a-b", "Deep-2", "fp32", "sifigan")
SETTINGS = small_settings(small_voice()[0])[0]


def plans(voice: str) -> list[ModelPlan]:
    return plan_models(SETTINGS, "0", list(ENGINES.values()), ENGINES["openvino-fp32"], name=voice)


@pytest.mark.parametrize("name", [voice for voice in VOICES if voice] + ["x" * LONGEST])
def test_names_that_voices_may_have(name: str) -> None:
    assert check_voice_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", "a--b", "a_b", "a b", "a/b", "..", "\u00e4", "a\n", "x" * (LONGEST + 1)],
    ids=repr,
)
def test_names_are_words_of_letters_and_digits(name: str) -> None:
    with pytest.raises(ValueError, match="expected letters and digits, in words with one - between them, at most 40"):
        check_voice_name(name)


@pytest.mark.parametrize(
    "name", [*ENGINES, "tensors", "dynamic", "ensemble", "stream", "a-tensors", "a-ensemble-b", "Tensors"]
)
def test_names_hold_no_word_of_the_models_own(name: str) -> None:
    with pytest.raises(ValueError, match="is a word of the models' own names"):
        check_voice_name(name)


def test_no_two_models_have_one_name_and_each_tells_its_voice() -> None:
    seen: set[str] = set()
    for voice in VOICES:
        names = [plan.name for plan in plans(voice)]
        assert {voice_of(name) for name in names} == {voice}
        assert seen.isdisjoint(names)
        assert main_ensembles(names) == [of_voice("sifigan", voice)]
        seen |= {*names}
    assert voice_of("identity") is None
    assert main_ensembles(seen) == sorted(of_voice("sifigan", voice) for voice in VOICES)


def test_the_models_of_a_voice_know_each_other_and_differ_in_nothing_else() -> None:
    plain, named = plans(""), plans("a")
    names = {plan.name for plan in named}
    for one, other in zip(plain, named, strict=True):
        parsed = text_format.Parse(other.config_text, pb.ModelConfig())
        assert {step.model_name for step in parsed.ensemble_scheduling.step} <= names
        for step in parsed.ensemble_scheduling.step:
            step.model_name = step.model_name.replace("-a", "", 1)
        parsed.name = parsed.name.replace("-a", "", 1)
        assert parsed == one.config
        assert (one.files, one.adapter, one.packages) == (other.files, other.adapter, other.packages)

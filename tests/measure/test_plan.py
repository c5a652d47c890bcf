"""What a benchmark measures, and what it refuses before anything is served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.tracks import DATA
from sifigan_triton.cli.main import main
from sifigan_triton.measure.plan import BenchmarkOptions, built_engines, plan_cases
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.model_plan import plan_models
from sifigan_triton.repository.staging import stage_model
from tests.small_voice import small_settings, small_voice

KIND = ENGINES["openvino-fp32"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configurations of a repository, without an engine."""
    folder = tmp_path_factory.mktemp("models")
    voice = small_voice()[0]
    for plan in plan_models(small_settings(voice)[0], "", [KIND], KIND):
        stage_model(folder, plan)
    return folder


def test_engine_that_is_not_built_is_named(tmp_path: Path) -> None:
    (tmp_path / "sifigan-ensemble-pt-fp32" / "1").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"no sifigan-ensemble-trt-fp16 that is built, found sifigan-ensemble-pt-fp32"):
        plan_cases(BenchmarkOptions(tmp_path, (ENGINES["trt-fp16"],)), tmp_path)


def test_repository_without_engines_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no engine's ensemble to measure: build with sifigan-triton build"):
        plan_cases(BenchmarkOptions(tmp_path, built_engines(tmp_path)), tmp_path)


def test_model_that_is_no_ensemble_is_named(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"postprocess is no ensemble that begins with preprocess"):
        plan_cases(BenchmarkOptions(repository, models=("postprocess",)), tmp_path)


def test_bare_engine_stands_beside_what_it_is_compared_with(repository: Path, tmp_path: Path) -> None:
    options = BenchmarkOptions(repository, (KIND,), lengths=(20, 70), concurrency=(1, 4), protocols=("http", "grpc"))
    cases = plan_cases(options, tmp_path)
    served = [("http", "1"), ("grpc", "1"), ("http", "4"), ("grpc", "4")]
    expected = [(length, *load) for length in ("20", "70") for load in [("in-process", "1"), *served]]
    expected += [("mixed", "grpc", "Poisson 0.5"), ("mixed", "grpc", "Poisson 0.8")]
    assert [(case.workload.name, case.protocol, case.load) for case in cases] == expected

    assert {case.model for case in cases} == {KIND.ensemble}


def test_models_are_measured_alone_and_files_by_waiting_clients(repository: Path, tmp_path: Path) -> None:
    options = BenchmarkOptions(repository, models=("sifigan",), files=(DATA / "short.json", DATA / "several.json"))
    cases = plan_cases(options, tmp_path)
    assert {(case.model, case.kind, case.utilization) for case in cases} == {("sifigan", None, None)}
    assert [case.workload.frames for case in cases[::6]] == [(100,), (200, 37, 411, 1000)]
    asked = plan_cases(replace(options, utilization=(0.7,)), tmp_path)
    assert [case.workload.name for case in asked if case.utilization] == ["short", "several"]


def test_document_without_marks_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.md").write_text("# Nothing\n")
    assert main(["benchmark", "--model-repository", str(tmp_path), "--document", str(tmp_path / "x.md")]) == 1
    assert "x.md lacks the marks <!-- benchmark: written by" in capsys.readouterr().err

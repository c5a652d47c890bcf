"""The start-up check says in plain words what of a plan does not fit the machine, and nothing where all fits."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sifigan_triton.repository.tensorrt_plan import (
    Gpu,
    Machine,
    library_version,
    notes,
    problems,
    read_gpus,
    read_machine,
)

H200, L4 = Gpu("NVIDIA H200", "9.0"), Gpu("NVIDIA L4", "8.9")
MACHINE = Machine((H200,), {"tensorrt": "10.5.0"})
FACTS = {
    "engine": "trt-fp16",
    "tensorrt_library": "tensorrt",
    "tensorrt_version": "10.5.0",
    "gpu_name": H200.name,
    "compute_capability": H200.compute_capability,
    "max_batch_size": 16,
}
SMI = "0, GPU-aaaa-1, NVIDIA H200, 9.0\n1, GPU-bbbb-2, NVIDIA L4, 8.9\n"


def test_a_plan_that_fits_has_no_problems() -> None:
    assert problems(FACTS, MACHINE) == []
    assert notes(FACTS, MACHINE) == []


def test_manifests_of_other_engines_are_none_of_its_business() -> None:
    assert problems({"voice": "random", "opset": 17}, Machine((), {})) == []


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        pytest.param(
            replace(MACHINE, versions={"tensorrt": "10.7.0"}),
            "plan was built with tensorrt 10.5.0, this machine has 10.7.0: "
            "rebuild with `sifigan-triton build --engine trt-fp16` on this machine",
            id="version",
        ),
        pytest.param(
            replace(MACHINE, versions={"tensorrt_rtx": "1.7.1"}),
            "plan needs tensorrt 10.5.0, this machine has none "
            "(libnvinfer.so.11 or libnvinfer.so.10 or libnvinfer.so.8 or libnvinfer.so cannot be loaded): install it",
            id="no-tensorrt",
        ),
        pytest.param(
            replace(MACHINE, gpus=(H200, L4)),
            "plan was built for compute capability 9.0 (NVIDIA H200), GPU 1 of this machine has 8.9 "
            "(NVIDIA L4): rebuild with `sifigan-triton build --engine trt-fp16` on this machine, or hide that GPU "
            "(CUDA_VISIBLE_DEVICES)",
            id="gpu",
        ),
        pytest.param(
            replace(MACHINE, gpus=()),
            "plan needs an NVIDIA GPU, nvidia-smi shows none: start with the GPU (docker: `--gpus all`)",
            id="no-gpu",
        ),
    ],
)
def test_what_does_not_fit_is_said_with_the_fix(machine: Machine, said: str) -> None:
    assert problems(FACTS, machine) == [said]


def test_a_build_number_behind_the_version_does_not_matter() -> None:
    assert problems({**FACTS, "tensorrt_version": "10.5.0.18"}, MACHINE) == []


def test_another_gpu_of_the_same_capability_is_a_note() -> None:
    machine = replace(MACHINE, gpus=(Gpu("NVIDIA H100", "9.0"),))
    assert problems(FACTS, machine) == []
    assert notes(FACTS, machine) == [
        "plan was tuned on NVIDIA H200, this machine has NVIDIA H100: it runs, a rebuild here may be faster"
    ]


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        pytest.param(None, (H200, L4), id="all"),
        pytest.param("1", (L4,), id="index"),
        pytest.param("GPU-aaaa", (H200,), id="uuid"),
        pytest.param("", (), id="none"),
    ],
)
def test_gpus_that_programs_see(visible: str | None, gpus: tuple[Gpu, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=SMI))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert read_gpus() == gpus


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        pytest.param({"getInferLibVersion": 8601}, "8.6.1", id="8.6"),
        pytest.param(
            {"getInferLibMajorVersion": 10, "getInferLibMinorVersion": 5, "getInferLibPatchVersion": 0},
            "10.5.0",
            id="10",
        ),
    ],
)
def test_version_of_a_library(library: dict[str, int], expected: str) -> None:
    functions: Any = SimpleNamespace(**{name: lambda value=value: value for name, value in library.items()})
    assert library_version(functions) == expected


def test_version_of_a_real_library() -> None:
    """The library that the RTX bindings bring tells the version that the bindings tell."""
    from sifigan_triton.build.tensorrt.library import load_tensorrt_rtx

    version = read_machine().versions["tensorrt_rtx"]
    assert str(load_tensorrt_rtx().__version__).startswith(f"{version}.")

"""The TensorRT modules are found or missed in plain words, and each version gets the flags that it knows."""

from __future__ import annotations

import importlib
import importlib.util
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import pytest

from sifigan_triton.build.tensorrt.library import (
    TensorRTError,
    is_rtx,
    load_tensorrt,
    load_tensorrt_rtx,
    network_flags,
    strongly_typed,
    version,
)


def module(number: str, name: str = "tensorrt", **flags: int) -> Any:
    known: Any = IntEnum("NetworkDefinitionCreationFlag", flags)
    return SimpleNamespace(__name__=name, __version__=number, NetworkDefinitionCreationFlag=known)


@pytest.mark.parametrize(
    ("trt", "flags", "typed"),
    [
        pytest.param(module("8.6.1", EXPLICIT_BATCH=0), 1, False, id="8.6"),
        pytest.param(module("9.1.0", EXPLICIT_BATCH=0, STRONGLY_TYPED=1), 3, True, id="9.1"),
        pytest.param(module("10.5.0", EXPLICIT_BATCH=0, STRONGLY_TYPED=1), 2, True, id="10.5"),
        pytest.param(module("11.1.0.106", STRONGLY_TYPED=0), 1, True, id="11.1"),
        pytest.param(module("1.7.1.116", "tensorrt_rtx_bindings", STRONGLY_TYPED=0), 1, True, id="rtx"),
    ],
)
def test_flags_of_each_version(trt: Any, flags: int, typed: bool) -> None:
    assert network_flags(trt) == flags
    assert strongly_typed(trt) == typed


def test_version_is_three_numbers() -> None:
    assert version(module("11.1.0.106")) == (11, 1, 0)


def test_rtx_is_found_without_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    trt = load_tensorrt_rtx()
    assert is_rtx(trt)
    assert strongly_typed(trt)


@pytest.mark.parametrize(
    ("load", "message"),
    [
        pytest.param(load_tensorrt, r"no package `tensorrt`.*pip install tensorrt-cu12==10\.5\.0", id="tensorrt"),
        pytest.param(load_tensorrt_rtx, r"tensorrt_rtx and .*pip install tensorrt-rtx-cu13-bindings", id="rtx"),
    ],
)
def test_a_missing_module_is_named_with_the_fix(load: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TensorRTError, match=message):
        load()


def test_bare_bindings_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in NVIDIA's container, whose TensorRT libraries are the system's."""
    asked: list[str] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "tensorrt_bindings" else None)
    monkeypatch.setattr(importlib, "import_module", lambda name: asked.append(name) or module("10.5.0"))
    assert load_tensorrt().__version__ == "10.5.0"
    assert asked == ["tensorrt_bindings"]


def test_a_version_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib, "import_module", lambda name: module("8.5.3", EXPLICIT_BATCH=0))
    with pytest.raises(TensorRTError, match=r"TensorRT 8\.5\.3 is too old, expected 8\.6 or newer"):
        load_tensorrt()


def test_a_module_that_cannot_be_loaded_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise ImportError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(TensorRTError, match=r"tensorrt is installed but cannot be loaded: libnvinfer\.so\.10"):
        load_tensorrt()

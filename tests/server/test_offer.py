"""Which voices are left when some cannot be served."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sifigan_triton.server.generation import Generation, Housing, Offer, free_ports
from sifigan_triton.server.log import failed_models
from sifigan_triton.server.triton_server import ServerError, TritonServer
from sifigan_triton.server.watch import Watch
from tests.repository.test_servable import add_voice

MODELS = ("postprocess", "postprocess-b", "preprocess", "preprocess-b", "sifigan", "sifigan-b", "sifigan-b-onnx-fp32")
OFFER = Offer(Path("models"), MODELS, ("sifigan", "sifigan-b"))


@pytest.mark.parametrize(
    ("broken", "left", "probed"),
    [
        ({"sifigan-b-onnx-fp32"}, ("postprocess", "preprocess", "sifigan"), ("sifigan",)),
        ({"preprocess"}, ("postprocess-b", "preprocess-b", "sifigan-b", "sifigan-b-onnx-fp32"), ("sifigan-b",)),
    ],
    ids=["b", "sifigan"],
)
def test_a_voice_goes_with_all_that_it_has(broken: set[str], left: tuple[str, ...], probed: tuple[str, ...]) -> None:
    assert OFFER.without(broken) == Offer(Path("models"), left, probed)


@pytest.mark.parametrize(
    "broken",
    [set(), {"identity"}, {"sifigan-c"}, {"sifigan", "sifigan-b"}],
    ids=["nothing", "no model of a voice", "a voice that is not there", "all voices"],
)
def test_there_has_to_be_something_less_and_something_left(broken: set[str]) -> None:
    assert OFFER.without(broken) is None


def test_the_log_names_the_models_that_failed() -> None:
    lines = (
        "E1125 06:18:06.9 1 model_lifecycle.cc:642] \"failed to load 'sifigan-b' version 1: Internal: no\"",
        "I1125 06:18:06.9 1 model_lifecycle.cc:839] \"successfully loaded 'sifigan'\"",
    )
    assert failed_models("\n".join(lines)) == {"sifigan-b"}


def test_a_voice_that_is_damaged_or_gone_at_a_restart_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[str, ...]] = []
    monkeypatch.setattr(TritonServer, "start", lambda self, *_: loaded.append(self._models))
    monkeypatch.setattr(TritonServer, "stop", lambda *_: None)
    monkeypatch.setattr(Watch, "__init__", lambda *_: None)
    monkeypatch.setattr(Watch, "close", lambda *_: None)
    models = tmp_path / "models"
    for voice in ("a", "b", "c"):
        add_voice(models, voice)
    names = tuple(sorted(path.name for path in models.iterdir()))
    offer = Offer(models, names, ("sifigan-a", "sifigan-b", "sifigan-c"))
    stopping = threading.Event()
    generation = Generation(offer, Housing(free_ports(), tmp_path, False, ()), 0)
    generation.start(stopping, 0)
    generation.stop()
    (models / "sifigan-b-openvino-fp32" / "1" / "model.onnx").write_bytes(b"damaged")
    (models / "preprocess-c").rename(tmp_path / "preprocess-c")
    generation.start(stopping, 1)
    assert loaded == [names, tuple(name for name in names if "-a" in name)]
    assert generation.offer == offer  # what was asked for: it is not looked for again without need
    (models / "preprocess-a").rename(tmp_path / "preprocess-a")
    generation.stop()
    with pytest.raises(ServerError, match="cannot serve preprocess-a: it is gone"):
        generation.start(stopping, 2)

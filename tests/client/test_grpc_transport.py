"""The client's gRPC, with answers that no Triton server gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from sifigan_triton.client import ServerUnavailableError, SifiganClient, SynthesisError, SynthesisTimeoutError
from tests.client.toy_ensemble import PASSED, features

SAMPLES = np.arange(8, dtype=np.float32)
GOOD = {"name": "waveform", "datatype": "FP32", "shape": [8]}


def answering(monkeypatch: pytest.MonkeyPatch, outputs: list[dict[str, Any]], data: list[bytes]) -> SifiganClient:
    """Return a client whose server gives this answer."""
    response = service_pb2.ModelInferResponse(outputs=outputs, raw_output_contents=data)
    monkeypatch.setattr(grpc.InferenceServerClient, "infer", lambda *_, **__: grpc.InferResult(response))
    return SifiganClient("grpc://127.0.0.1:1")


def test_good_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(monkeypatch, [GOOD], [SAMPLES.tobytes()]) as client:
        waveform = client.synthesize(*features(2))
    assert np.array_equal(waveform, SAMPLES)
    assert waveform.flags.writeable


@pytest.mark.parametrize(
    ("outputs", "data"),
    [
        ([], []),
        ([GOOD], []),
        ([GOOD], [SAMPLES.tobytes()[:-1]]),
        ([GOOD | {"shape": [9]}], [SAMPLES.tobytes()]),
        ([GOOD | {"shape": [2, 4]}], [SAMPLES.tobytes()]),
        ([GOOD | {"datatype": "INT64"}], [bytes(64)]),
        ([GOOD | {"name": "pcm16", "datatype": "INT16"}], [bytes(16)]),
    ],
    ids=["nothing", "no bytes", "odd bytes", "too few bytes", "two axes", "another type", "another output"],
)
def test_malformed_answer_is_that_of_a_stranger(
    monkeypatch: pytest.MonkeyPatch, outputs: list[dict[str, Any]], data: list[bytes]
) -> None:
    with (
        answering(monkeypatch, outputs, data) as client,
        pytest.raises(ServerUnavailableError, match=r"^grpc://127.0.0.1:1 answers .*: expected Triton's gRPC port"),
    ):
        client.synthesize(*features(2))


def test_server_without_models_has_no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc.InferenceServerClient, "get_inference_statistics", lambda *_, **__: {})
    with SifiganClient("grpc://127.0.0.1:1") as client:
        assert client.steps() == {}


@pytest.mark.parametrize(
    ("closed", "message", "error", "said"),
    [
        (False, PASSED, SynthesisTimeoutError, PASSED),
        (True, PASSED, SynthesisTimeoutError, PASSED),
        (False, "Locally cancelled", SynthesisError, "Locally cancelled"),
        (True, "Channel closed!", ServerUnavailableError, "this client of .* has been closed: open a new one"),
    ],
    ids=["late", "late and closed", "cancelled", "closed"],
)
def test_what_cancelled_means(
    monkeypatch: pytest.MonkeyPatch, closed: bool, message: str, error: type[Exception], said: str
) -> None:
    client = SifiganClient("grpc://127.0.0.1:1")

    def infer(*_: Any, **__: Any) -> None:
        if closed:
            client._transport.close()
        raise InferenceServerException(message, "StatusCode.CANCELLED")

    monkeypatch.setattr(grpc.InferenceServerClient, "infer", infer)
    with client, pytest.raises(error, match=f"^{said}$"):
        client.synthesize(*features(2))
